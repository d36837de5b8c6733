// Reads a compose file as Docker Compose does, with all profiles and all checks, and writes it as JSON.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(
		os.Args[1:], cli.WithProfiles([]string{"*"}), cli.WithConsistency(true),
	)
	if err == nil {
		var project, failed = options.LoadProject(context.Background())
		err = failed
		if err == nil {
			var text []byte
			if text, err = project.MarshalJSON(); err == nil {
				_, err = os.Stdout.Write(text)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
