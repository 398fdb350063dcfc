// Limits by go-redis 9. Not run by the tests: its module comes from none of the registries that they use.
// Usage: go_redis PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Decision is the reply. RL.TOKEN's has no DelayMs, which stays 0.
type Decision struct{ Allowed, Limit, Remaining, RetryAfterMs, ResetAfterMs, DelayMs int64 }

const deadline = 100 * time.Millisecond

// connect turns retries off: a call that timed out may have taken its tokens, and a retry takes them again. In a
// cluster MaxRedirects bounds retries as well as redirections. With -1 neither is made; after MOVED the next call has
// the new slots.
func connect(ports []string) redis.UniversalClient {
	addresses := make([]string, len(ports))
	for n, port := range ports {
		addresses[n] = "127.0.0.1:" + port
	}
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: addresses, MaxRetries: -1, MaxRedirects: -1,
		DialTimeout: deadline, ReadTimeout: deadline, WriteTimeout: deadline,
	})
}

// waitForTurn returns nil if Redis is away: the caller then lets the work pass, or refuses it.
func waitForTurn(client redis.UniversalClient, command, key string) *Decision {
	for {
		reply, err := client.Do(context.Background(), command, key, "10/s", 20).Int64Slice()
		var refused redis.Error
		if errors.As(err, &refused) && !strings.HasPrefix(err.Error(), "MOVED") {
			panic(err)
		} else if err != nil {
			return nil
		}
		reply = append(reply, 0)
		decision := &Decision{reply[0], reply[1], reply[2], reply[3], reply[4], reply[5]}
		if decision.Allowed > 0 {
			time.Sleep(time.Duration(decision.DelayMs) * time.Millisecond)
			return decision
		}
		time.Sleep(time.Duration(decision.RetryAfterMs) * time.Millisecond)
	}
}

func main() {
	client := connect(strings.Split(os.Args[1], ","))
	for _, command := range []string{"RL.TOKEN", "RL.LEAKY"} {
		for _, key := range os.Args[2:] {
			if decision := waitForTurn(client, command, command+":"+key); decision != nil {
				fmt.Println(command, key, "remaining", decision.Remaining)
			} else {
				fmt.Println(command, key, "Redis is away")
			}
		}
	}
}
