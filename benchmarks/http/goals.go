package main

import "github.com/tongpengdl/small-db/benchmarks/peers/report"

// Names of the ratios. They are taken at goalConnections.
const (
	getCPU          = "get_cpu_vs_empty"
	putVsRedis      = "put_64_vs_redis"
	putVsEtcd       = "put_64_vs_etcd"
	goalConnections = 64
)

// The report shows the goals of this program.
func init() {
	report.Goals = []report.Goal{
		{Name: getCPU, Bound: 1.1, Most: true, Means: "processor time of the server per GET, 64 connections: ours / empty handler"},
		{Name: putVsRedis, Bound: 1, Means: "durable PUTs, 64 connections: ours / SETs of Redis; 0.8 at least"},
		{Name: putVsEtcd, Bound: 1, Means: "durable PUTs, 64 connections: ours / etcd"},
	}
}
