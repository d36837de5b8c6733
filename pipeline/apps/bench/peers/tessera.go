// Tessera_log appends entries to a Tessera log in a POSIX file system and waits until all are published.
//
//	tessera_log FOLDER < entries   each entry after its length, 4 bytes, big endian
//
// Prints one JSON object: entries, seconds, and processor seconds of this process, reading of the input left out.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	batch    = 1024
	batchAge = 250 * time.Millisecond
	publish  = time.Second
	ahead    = 4096
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: tessera_log FOLDER < entries")
	}
	ctx := context.Background()
	entries := read(bufio.NewReaderSize(os.Stdin, 1<<20))
	secret, _, err := note.GenerateKey(rand.Reader, "bench.bkdms.local/peer")
	if err != nil {
		log.Fatal(err)
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(must(note.NewSigner(secret))).
		WithBatching(batch, batchAge).
		WithCheckpointInterval(publish).
		WithPushback(2 * ahead)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, must(posix.New(ctx, posix.Config{Path: os.Args[1]})), options)
	if err != nil {
		log.Fatal(err)
	}
	begun, spent := time.Now(), used()
	appendAll(ctx, appender, tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, batchAge), entries)
	result := map[string]any{
		"entries":     len(entries),
		"seconds":     time.Since(begun).Seconds(),
		"cpu_seconds": used() - spent,
	}
	if err := shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

// appendAll adds entries in order, never more than ahead of what has its place in the log.
func appendAll(ctx context.Context, appender *tessera.Appender, await *tessera.PublicationAwaiter, entries [][]byte) {
	var waiting []tessera.IndexFuture
	for _, entry := range entries {
		if len(waiting) == ahead {
			must(waiting[0]())
			waiting = waiting[1:]
		}
		waiting = append(waiting, appender.Add(ctx, tessera.NewEntry(entry)))
	}
	for _, future := range waiting {
		must(future())
	}
	if _, _, err := await.Await(ctx, waiting[len(waiting)-1]); err != nil {
		log.Fatal(err)
	}
}

func read(input io.Reader) [][]byte {
	var entries [][]byte
	for {
		var size uint32
		if err := binary.Read(input, binary.BigEndian, &size); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		entry := make([]byte, size)
		if _, err := io.ReadFull(input, entry); err != nil {
			log.Fatal(err)
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		log.Fatal("no entries")
	}
	return entries
}

// used returns the processor seconds of this process, user and system.
func used() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
