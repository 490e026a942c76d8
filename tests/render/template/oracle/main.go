// The real thing, against which the tests hold our templates and regular expressions: Go's text/template with sprig,
// and Go's regexp. One request in JSON a line on standard input, one answer a line on standard output.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"regexp"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

type request struct {
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
	Regexp   *string         `json:"regexp"`
	Text     string          `json:"text"`
	By       string          `json:"by"`
	Most     int             `json:"most"`
}

type answer struct {
	Out      string   `json:"out"`
	Hex      string   `json:"hex"` // of what is no UTF-8
	Error    string   `json:"error"`
	All      [][]int  `json:"all"`
	Replaced string   `json:"replaced"`
	Literal  string   `json:"literal"`
	Split    []string `json:"split"`
}

// Whole numbers are int, as we promise, and not the float64 that encoding/json makes of them.
func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return int(i)
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	}
	return v
}

// What External Secrets has besides sprig, so far as it can be compared.
var more = template.FuncMap{
	"toYaml": func(v any) (string, error) {
		out, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(out), "\n"), err
	},
	"fromYaml": func(text string) (map[string]any, error) {
		found := map[string]any{}
		return found, yaml.Unmarshal([]byte(text), &found)
	},
	"hexdec": func(text string) (string, error) {
		out, err := hex.DecodeString(text)
		return string(out), err
	},
	"filterPEM": func(kind, text string) (string, error) {
		var out bytes.Buffer
		rest := []byte(text[max(0, strings.Index(text, "-----BEGIN")):])
		for {
			block, after := pem.Decode(rest)
			if rest = after; block == nil {
				break
			}
			if strings.EqualFold(block.Type, kind) {
				pem.Encode(&out, block)
			}
		}
		if out.Len() == 0 && len(rest) != 0 {
			return "", errors.New("junk")
		}
		return out.String(), nil
	},
}

func render(r request) (said answer) {
	defer func() {
		if p := recover(); p != nil {
			said = answer{Error: "panic"}
		}
	}()
	d := json.NewDecoder(bytes.NewReader(r.Data))
	d.UseNumber()
	var data any
	if err := d.Decode(&data); err != nil {
		return answer{Error: err.Error()}
	}
	t, err := template.New("the template itself").Funcs(sprig.TxtFuncMap()).Funcs(more).Option("missingkey=error").Parse(r.Template)
	if err != nil {
		return answer{Error: err.Error()}
	}
	var out strings.Builder
	if err := t.Execute(&out, whole(data)); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Out: out.String(), Hex: hex.EncodeToString([]byte(out.String()))}
}

func match(r request) answer {
	p, err := regexp.Compile(*r.Regexp)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{
		All:      p.FindAllStringSubmatchIndex(r.Text, r.Most),
		Replaced: p.ReplaceAllString(r.Text, r.By),
		Literal:  p.ReplaceAllLiteralString(r.Text, r.By),
		Split:    p.Split(r.Text, r.Most),
	}
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var r request
			if err := json.Unmarshal(line, &r); err != nil {
				panic(err)
			}
			if r.Regexp != nil {
				enc.Encode(match(r))
			} else {
				enc.Encode(render(r))
			}
			out.Flush()
		}
		if err != nil {
			return
		}
	}
}
