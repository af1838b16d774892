package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/project"
)

// client returns a client of the running server, or the fault
// "server.not_running" when the data folder names none.
func (c *command) client() (*api.Client, error) {
	base, token := c.server, c.env.Getenv("TIDEGATE_TOKEN")
	if base == "" {
		a, err := api.Announced(c.data)
		if err != nil {
			return nil, c.notReadable(err)
		}
		if a == nil {
			return nil, &tidegate.Fault{
				Action: tidegate.Halt, Code: "server.not_running", Subject: "data folder " + c.data, Message: "no server runs on this data folder",
				Hint: "start one with `tidegate serve`, or name another folder with --data or a server with --server",
			}
		}
		base = a.AdminURL
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage(fmt.Errorf("%q is no address of a server: write http://HOST:PORT after --server or into TIDEGATE_SERVER", base))
	}
	if token == "" {
		var err error
		if token, err = auth.ReadTokenFile(c.data); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, c.notReadable(err)
		}
	}
	return api.NewClient(base, token, c.env.HTTP), nil
}

// notReadable says what is to be done where err is that the data folder is another user's.
func (c *command) notReadable(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "data.not_readable", Subject: "data folder " + c.data, Message: err.Error(),
		Hint: "run the command as the user that runs the server, or name the server with --server and give a token of `tidegate token create` in TIDEGATE_TOKEN", Err: err,
	}
}

// running is client, but nil without an error when there is no server and
// none was named: the caller then works on the files itself.
func (c *command) running(ctx context.Context) (*api.Client, error) {
	client, err := c.client()
	if err == nil {
		_, err = client.Version(ctx)
	}
	if err == nil {
		return client, nil
	}
	if f := tidegate.FaultOf(err); c.server == "" && (f.Code == "server.not_running" || f.Code == "server.unreachable") {
		return nil, nil //nolint:nilnil // documented
	}
	return nil, err
}

// projectDir is the folder named by argument or flag, or the current one when
// it holds a project.
func (c *command) projectDir(args []string) string {
	switch {
	case len(args) > 0:
		return args[0]
	case c.project != "":
		return c.project
	}
	return "."
}

func (c *command) loadProject(args []string) (*project.Project, error) {
	return project.LoadDir(c.projectDir(args), c.env.Local.Kinds)
}

// hasProject says whether a project folder was named or is the current one.
func (c *command) hasProject() bool {
	if c.project != "" {
		return true
	}
	_, err := os.Stat(filepath.Join(".", project.File))
	return err == nil
}
