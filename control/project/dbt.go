package project

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/dbt"
)

// allDbt checks the dbt projects without looking at their artefacts.
func (c *checker) allDbt() {
	unique(c, c.dbt, "dbt project", func(v tidegate.DbtProject) string { return v.Name })
	for _, it := range c.dbt {
		p := it.value
		switch {
		case p.Target == "" && p.Cloud == nil:
			c.add(it.problem("", "the dbt project has neither target nor cloud", "write `target:` and the folder in which dbt leaves manifest.json"))
		case p.Target != "" && p.Cloud != nil:
			c.add(it.problem("cloud", "the dbt project has both target and cloud", "keep one"))
		}
		c.dbtTarget(it)
		if p.Cloud != nil && !strings.HasPrefix(p.Cloud.URL, "https://") && !strings.HasPrefix(p.Cloud.URL, "http://") {
			c.add(it.problem("cloud.url", fmt.Sprintf("%q is no URL", p.Cloud.URL), "write https://cloud.getdbt.com, or the access URL of your account"))
		}
		for i, selection := range p.Select {
			if _, err := (&dbt.Manifest{}).Select(selection); err != nil || selection == "" {
				c.add(it.problem(fmt.Sprintf("select[%d]", i), fmt.Sprintf("%q is no selection of dbt models", selection), "write a name, tag:NAME, path:FOLDER or config.SETTING:VALUE"))
			}
		}
		if ext := path.Ext(p.Exposures); p.Exposures != "" && ext != ".yml" && ext != ".yaml" {
			c.add(it.problem("exposures", "dbt reads .yml and .yaml files only", "write models/tidegate_exposures.yml of the dbt project"))
		}
		if it.doc != nil {
			cloned := p.Clone() // secrets are resolved in place
			c.secrets(it.doc, &cloned)
		}
	}
}

func (c *checker) dbtTarget(it item[tidegate.DbtProject]) {
	p := it.value
	scheme, _, remote := strings.Cut(p.Target, "://")
	switch scheme {
	case "https", "http", "gs", "s3":
	default:
		if remote {
			c.add(it.problem("target", fmt.Sprintf("%s:// is not known", scheme), "name a folder, or a URL that begins with https://, s3:// or gs://"))
		}
	}
	if p.S3 != nil && scheme != "s3" {
		c.add(it.problem("s3", "the access to S3 is given, but target is not s3://", "remove it"))
	}
	if p.S3 != nil && (p.S3.AccessKeyID == "") != (p.S3.SecretAccessKey == "") {
		c.add(it.problem("s3", "access_key_id and secret_access_key belong together", "set both, or none for a public bucket"))
	}
	if p.Token != "" && (!remote || scheme == "s3") {
		c.add(it.problem("token", "a token is sent to https:// and gs:// only", "remove it"))
	}
}

// offered says whether a dbt project offers models: which, its manifest says.
func (c *checker) offered() bool {
	return slices.ContainsFunc(c.dbt, func(it item[tidegate.DbtProject]) bool { return len(it.value.Select) > 0 })
}

// dbtModel checks a model that dbt makes; its columns and key are known once
// the manifest is read.
func (c *checker) dbtModel(it item[tidegate.Model]) {
	m := it.value
	for key, set := range map[string]bool{"sql": m.SQL != "", "table": m.Table != "", "file": m.File != ""} {
		if set {
			c.add(it.problem(key, "the model has both dbt and "+key, "keep one"))
		}
	}
	if len(c.dbt) == 0 {
		c.add(it.problem("dbt", "the project names no dbt project", "add `dbt: [{target: PATH}]` to "+File))
	}
}
