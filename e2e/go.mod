module github.com/tidegate/tidegate/e2e

go 1.26.0

require github.com/tidegate/tidegate v0.0.0

replace github.com/tidegate/tidegate => ../
