// Command api writes Envoy's whole API as one google.protobuf.FileDescriptorSet: every file that the Go packages
// named in imports.go register, dependencies first, in an order that depends on file names alone.
//
//	go run . OUTPUT
package main

import (
	"fmt"
	"os"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: api OUTPUT")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(output string) error {
	var all []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		all = append(all, file)
		return true
	})
	sort.Slice(all, func(i, j int) bool { return all[i].Path() < all[j].Path() })

	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var visit func(file protoreflect.FileDescriptor) error
	visit = func(file protoreflect.FileDescriptor) error {
		if seen[file.Path()] {
			return nil
		}
		seen[file.Path()] = true
		imports := file.Imports()
		for i := 0; i < imports.Len(); i++ {
			dependency := imports.Get(i)
			if dependency.IsPlaceholder() {
				return fmt.Errorf("%s imports %s, which no package registers", file.Path(), dependency.Path())
			}
			// The import list holds a descriptor without contents when the registry learned the file later.
			registered, err := protoregistry.GlobalFiles.FindFileByPath(dependency.Path())
			if err != nil {
				return err
			}
			if err := visit(registered); err != nil {
				return err
			}
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
		return nil
	}
	for _, file := range all {
		if err := visit(file); err != nil {
			return err
		}
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return err
	}
	fmt.Printf("%d files, %d bytes\n", len(set.File), len(bytes))
	return os.WriteFile(output, bytes, 0o644)
}
