use redis::Value;
use rl_tests::{RedisServer, assert_about, version};

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).expect("UTF-8"),
        Value::SimpleString(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn info_shows_all_fields_of_a_bucket() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.LEAKY k 5/1000d 20 COST 15");
    let Value::Array(items) = redis.value("RL.INFO k") else {
        panic!("a flat array in RESP2")
    };
    let fields: Vec<(String, String)> = items
        .chunks(2)
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "algorithm",
            "rate",
            "limit",
            "remaining",
            "retry_after_ms",
            "reset_after_ms",
            "updated_us"
        ]
    );
    let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values[..5], ["leaky", "1/200d", "20", "5", "0"]);
    assert_about(values[5].parse().expect("a number"), 259_200_000_000);
    let stored = rl_tests::Stored::read(&redis.stored("k").0.expect("a key"));
    assert_eq!(values[6], stored.updated_us.to_string());
}

#[test]
fn info_of_an_empty_bucket_shows_the_wait_for_one_token() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 2 FORCE 4");
    let Value::Array(items) = redis.value("RL.INFO k") else {
        panic!("a flat array in RESP2")
    };
    assert_eq!(
        (text(&items[3]), text(&items[7])),
        ("1/1000d".to_owned(), "0".to_owned())
    );
    assert_about(text(&items[9]).parse().expect("a number"), 259_200_000_000);
}

#[test]
fn info_is_a_map_in_resp3_and_nil_without_a_key() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.value("RL.INFO k"), Value::Nil);
    redis.value("HELLO 3");
    redis.limit("RL.TOKEN k 1/1000d 20");
    match redis.value("RL.INFO k") {
        Value::Map(pairs) => assert_eq!(pairs.len(), 7),
        // Modules of Redis 6.2 cannot reply with a map.
        Value::Array(items) if version() < [7, 0] => assert_eq!(items.len(), 2 * 7),
        other => panic!("{other:?}"),
    }
}
