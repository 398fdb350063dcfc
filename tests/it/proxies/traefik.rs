use rl_tests::Program::Traefik;

use super::Site;

#[test]
fn traefik_limits_each_route_by_its_policy() {
    if let Some(site) = Site::start(Traefik) {
        site.limits_each_route_by_its_policy(false);
    }
}

#[test]
fn traefik_limits_the_address_of_the_connection() {
    if let Some(site) = Site::start(Traefik) {
        site.limits_the_address_of_the_connection();
    }
}

#[test]
fn traefik_gives_a_key_its_own_bucket() {
    if let Some(site) = Site::start(Traefik) {
        site.gives_a_key_its_own_bucket();
    }
}

#[test]
fn behind_traefik_a_site_stays_up_and_limited_without_redis() {
    if let Some(site) = Site::start(Traefik) {
        site.stays_up_and_limited_without_redis();
    }
}

#[test]
fn traefik_says_503_where_an_outage_denies() {
    if let Some(answer) = Site::answers_without_redis_where_an_outage_denies(Traefik) {
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[test]
fn traefik_says_500_without_rl_server() {
    if let Some(mut site) = Site::start(Traefik) {
        assert_eq!(site.answers_without_rl_server().status, 500);
    }
}
