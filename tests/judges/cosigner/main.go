// Cosigner checks notes, and makes post-quantum cosignatures, by a C2SP implementation that is not ours.
//
//	cosigner verify KEYS < note   prints the keys of the file KEYS that signed, one a line; fails on a bad signature
//	cosigner sign NAME < text     prints a new ML-DSA-44 verifier key, then the text as a note that it cosigned
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	cosign "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: cosigner verify KEYS | cosigner sign NAME")
	}
	input := must(io.ReadAll(os.Stdin))
	switch os.Args[1] {
	case "verify":
		verify(string(must(os.ReadFile(os.Args[2]))), input)
	case "sign":
		sign(os.Args[2], string(input))
	default:
		log.Fatalf("unknown command %q", os.Args[1])
	}
}

func verify(keys string, data []byte) {
	var verifiers []note.Verifier
	keyOf := map[string]string{}
	for _, key := range strings.Fields(keys) {
		verifier := must(cosign.NewVerifier(key))
		verifiers = append(verifiers, verifier)
		keyOf[fmt.Sprint(verifier.Name(), verifier.KeyHash())] = key
	}
	opened := must(note.Open(data, note.VerifierList(verifiers...)))
	for _, signature := range opened.Sigs {
		fmt.Println(keyOf[fmt.Sprint(signature.Name, signature.Hash)])
	}
}

func sign(name, text string) {
	secret, public, err := cosign.GenerateMLDSAKey(name)
	if err != nil {
		log.Fatal(err)
	}
	signer := must(cosign.NewMLDSASigner(secret))
	signed := must(note.Sign(&note.Note{Text: text}, signer))
	fmt.Printf("%s\n%s", public, signed)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
