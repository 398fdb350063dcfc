use rl_tests::Program::Caddy;

use super::Site;

#[test]
fn caddy_limits_each_route_by_its_policy() {
    if let Some(site) = Site::start(Caddy) {
        site.limits_each_route_by_its_policy(true);
    }
}

#[test]
fn caddy_limits_the_address_of_the_connection() {
    if let Some(site) = Site::start(Caddy) {
        site.limits_the_address_of_the_connection();
    }
}

#[test]
fn caddy_gives_a_key_its_own_bucket() {
    if let Some(site) = Site::start(Caddy) {
        site.gives_a_key_its_own_bucket();
    }
}

#[test]
fn behind_caddy_a_site_stays_up_and_limited_without_redis() {
    if let Some(site) = Site::start(Caddy) {
        site.stays_up_and_limited_without_redis();
    }
}

#[test]
fn caddy_says_503_where_an_outage_denies() {
    if let Some(answer) = Site::answers_without_redis_where_an_outage_denies(Caddy) {
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[test]
fn caddy_says_502_without_rl_server() {
    if let Some(mut site) = Site::start(Caddy) {
        assert_eq!(site.answers_without_rl_server().status, 502);
    }
}
