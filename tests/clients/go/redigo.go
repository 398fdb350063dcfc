// Limits by redigo, and redisc in a cluster.
// Usage: redigo PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/mna/redisc"
)

// Decision is the reply. RL.TOKEN's has no DelayMs, which stays 0.
type Decision struct{ Allowed, Limit, Remaining, RetryAfterMs, ResetAfterMs, DelayMs int64 }

func decide(conn redis.Conn, command, key string) (*Decision, error) {
	defer conn.Close()
	reply, err := redis.Int64s(conn.Do(command, key, "10/s", 20))
	if err != nil {
		return nil, err
	}
	reply = append(reply, 0)
	return &Decision{reply[0], reply[1], reply[2], reply[3], reply[4], reply[5]}, nil
}

// waitForTurn returns nil if Redis is away: the caller then lets the work pass, or refuses it.
func waitForTurn(get func() redis.Conn, command, key string) *Decision {
	for {
		decision, err := decide(get(), command, key)
		if refused := redis.Error(""); errors.As(err, &refused) {
			panic(err)
		} else if err != nil {
			return nil
		}
		if decision.Allowed > 0 {
			time.Sleep(time.Duration(decision.DelayMs) * time.Millisecond)
			return decision
		}
		time.Sleep(time.Duration(decision.RetryAfterMs) * time.Millisecond)
	}
}

func main() {
	ms, err := strconv.Atoi(os.Getenv("DEADLINE_MS"))
	if err != nil {
		ms = 100
	}
	deadline := time.Duration(ms) * time.Millisecond
	// redigo sends no call twice: a call that timed out may have taken its tokens.
	options := []redis.DialOption{
		redis.DialConnectTimeout(deadline), redis.DialReadTimeout(deadline), redis.DialWriteTimeout(deadline),
	}
	pool := func(address string, options ...redis.DialOption) (*redis.Pool, error) {
		dial := func() (redis.Conn, error) { return redis.Dial("tcp", address, options...) }
		return &redis.Pool{MaxIdle: 10, Dial: dial}, nil
	}
	nodes := strings.Split(os.Args[1], ",")
	for n := range nodes {
		nodes[n] = "127.0.0.1:" + nodes[n]
	}
	single, _ := pool(nodes[0], options...)
	get := single.Get
	if len(nodes) > 1 {
		cluster := &redisc.Cluster{StartupNodes: nodes, DialOptions: options, CreatePool: pool}
		if err := cluster.Refresh(); err != nil {
			panic(err)
		}
		get = cluster.Get
	}
	for _, command := range []string{"RL.TOKEN", "RL.LEAKY"} {
		for _, key := range os.Args[2:] {
			if decision := waitForTurn(get, command, command+":"+key); decision != nil {
				fmt.Println(command, key, "remaining", decision.Remaining)
			} else {
				fmt.Println(command, key, "Redis is away")
			}
		}
	}
}
