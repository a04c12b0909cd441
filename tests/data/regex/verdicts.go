// Writes go.txt: for each pattern of a JSON list, what Go's regexp says of it as Prometheus uses it (parsed alone, then anchored): a digit for each
// text, 1 when it matches, or "refused"; then the pattern as it stands. Patterns hold no line feed.
//
//	go run verdicts.go patterns.json > go.txt
//
// Left out of the list, because their verdict depends on Go's version or on a ceiling of ours: names of Unicode classes that differ between Go's
// and RE2's tables, and patterns of more than SHIM_RE2_MEM_MAX such as \pL{1000}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"regexp/syntax"
)

var texts = []string{"", "a", "b", "ab", "abc", "aa", "aaa", "A", "AB", "é", "É", "a\nb", "\n", "a.b", "a-b", "5", "_", "日本", "foobar", "x2", " ", "[", "}", "{2}", "Ω"}

func main() {
	var patterns []string
	data, _ := os.ReadFile(os.Args[1])
	if err := json.Unmarshal(data, &patterns); err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, p := range patterns {
		bits := "refused"
		// As Prometheus does: the pattern must parse alone, then it is anchored.
		if parsed, err := syntax.Parse(p, syntax.Perl|syntax.DotNL); err == nil {
			if re, err := regexp.Compile("^(?s:" + parsed.String() + ")$"); err == nil {
				bits = ""
				for _, t := range texts {
					if re.MatchString(t) {
						bits += "1"
					} else {
						bits += "0"
					}
				}
			}
		}
		fmt.Fprintf(out, "%s %s\n", bits, p)
	}
}
