// Command generate writes the Go code of the .proto files of the folder above: messages
// and, in a package of its own, Connect's client and handler. It needs no protoc: the
// files are compiled here, and the two plugins are tools of this module.
//
// It is a module of its own, so that the product depends on no compiler.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const product = "github.com/tidegate/tidegate"

func main() {
	if err := generate(context.Background(), "..", "../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate compiles the files below from and writes what the plugins make of them below to.
func generate(ctx context.Context, from, to string) error {
	names, err := sources(from)
	if err != nil {
		return err
	}
	files, err := compile(ctx, from, names)
	if err != nil {
		return err
	}
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{FileToGenerate: names, ProtoFile: files, Parameter: proto.String("module=" + product)})
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-connect-go"} {
		if err := run(ctx, plugin, request, to); err != nil {
			return fmt.Errorf("running %s: %w", plugin, err)
		}
	}
	return nil
}

func sources(from string) (names []string, err error) {
	err = filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(path, ".proto"); ok && err == nil {
			rel, err := filepath.Rel(from, name+".proto")
			names = append(names, filepath.ToSlash(rel))
			return err
		}
		return err
	})
	return names, err
}

// compile returns the files with all that they import, imports first.
func compile(ctx context.Context, from string, names []string) ([]*descriptorpb.FileDescriptorProto, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{from}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var list []*descriptorpb.FileDescriptorProto
	for _, f := range compiled {
		imports := f.Imports()
		for i := range imports.Len() {
			if file := imports.Get(i).FileDescriptor; !seen[file.Path()] {
				seen[file.Path()] = true
				list = append(list, protoutil.ProtoFromFileDescriptor(file))
			}
		}
		list = append(list, protoutil.ProtoFromFileDescriptor(f))
	}
	return list, nil
}

func run(ctx context.Context, plugin string, request []byte, to string) error {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return fmt.Errorf("decoding its answer: %w", err)
	}
	if response.Error != nil {
		return fmt.Errorf("it says: %s", response.GetError())
	}
	for _, f := range response.GetFile() {
		path := filepath.Join(to, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
