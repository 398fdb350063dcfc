use rl_tests::Program::Envoy;

use super::Site;

#[test]
fn envoy_limits_each_route_by_its_policy() {
    if let Some(site) = Site::start(Envoy) {
        site.limits_each_route_by_its_policy(true);
    }
}

#[test]
fn envoy_limits_the_address_of_the_connection() {
    if let Some(site) = Site::start(Envoy) {
        site.limits_the_address_of_the_connection();
    }
}

#[test]
fn envoy_gives_a_key_its_own_bucket() {
    if let Some(site) = Site::start(Envoy) {
        site.gives_a_key_its_own_bucket();
    }
}

#[test]
fn behind_envoy_a_site_stays_up_and_limited_without_redis() {
    if let Some(site) = Site::start(Envoy) {
        site.stays_up_and_limited_without_redis();
    }
}

#[test]
fn envoy_says_503_where_an_outage_denies() {
    if let Some(answer) = Site::answers_without_redis_where_an_outage_denies(Envoy) {
        assert_eq!(answer.header("retry-after"), None);
    }
}

#[test]
fn envoy_says_503_without_rl_server() {
    if let Some(mut site) = Site::start(Envoy) {
        assert_eq!(site.answers_without_rl_server().status, 503);
    }
}
