module github.com/tongpengdl/small-db/benchmarks/http

go 1.26.0

replace (
	github.com/tongpengdl/small-db => ../..
	github.com/tongpengdl/small-db/benchmarks/peers => ../peers
)

require (
	github.com/stretchr/testify v1.12.1
	github.com/tongpengdl/small-db v0.0.0-00010101000000-000000000000
	github.com/tongpengdl/small-db/benchmarks/peers v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.49.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
