//! The page in light, in dark and on a phone: pictures of its states in `target/page`, and no accessibility error there
//! that axe-core finds.

use std::fs;
use std::path::PathBuf;

use rl_tests::{AxeResult, PoliciesFile, Screen, artifacts, eventually, table};

use crate::page::{Visit, WIDE};

const DARK: Screen = Screen {
    is_dark: true,
    ..WIDE
};

const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    scale: 2,
    is_phone: true,
    ..WIDE
};

const SCREENS: [(&str, Screen); 3] = [("light", WIDE), ("dark", DARK), ("phone", PHONE)];

const POLICIES: &str = "[search]\nlimits = [{ rate = \"2/s\", burst = 4 }]\ndry_run = true\n";

fn directory() -> PathBuf {
    let release = artifacts().server.parent().expect("a directory");
    release.with_file_name("page")
}

/// The states of the page that were looked at, with what axe-core found in each.
struct Album {
    visit: Visit,
    rows: Vec<Vec<String>>,
    errors: Vec<String>,
}

impl Album {
    fn start(flags: &[&str]) -> Option<Self> {
        Some(Self {
            visit: Visit::start(flags)?,
            rows: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Writes a picture of the page as it is now, and asks axe-core about it.
    fn add(&mut self, state: &str, screen: &str) {
        let file = directory().join(format!("{state}-{screen}.png"));
        self.visit.browser.picture(&file);
        let Some(found) = AxeResult::of(&mut self.visit.browser) else {
            return;
        };
        let counts = [found.violations.len(), found.undecided.len(), found.passed];
        let counts = counts.map(|count| count.to_string());
        let names = [state, screen].map(str::to_owned);
        self.rows.push([&names[..], &counts[..]].concat());
        self.errors.extend(found.violations);
        self.errors.extend(found.undecided);
    }

    /// Writes what axe-core found to `target/page`, and checks that it is nothing.
    fn end(self, name: &str) {
        self.visit.end();
        let head = ["state", "screen", "violations", "undecided", "rules kept"];
        fs::create_dir_all(directory()).expect("a directory");
        fs::write(
            directory().join(format!("axe-{name}.md")),
            table(&head, &self.rows),
        )
        .expect("a file");
        assert!(self.errors.is_empty(), "{:#?}", self.errors);
    }
}

/// The one that README.md shows is `readme.png`.
#[test]
fn axe_finds_no_error_in_the_demonstration() {
    let Some(mut album) = Album::start(&[]) else {
        return;
    };
    for (name, screen) in SCREENS {
        album.visit.browser.show_on(screen);
        album.visit.open();
        album.add("first", name);
        album.visit.browser.click("#show");
        album.visit.wait_for("[aria-current=step] h2", "Stream");
        album.add("stream", name);
        album.visit.wait_for("#show", "Show me");
        if name == "light" {
            for bucket in ["token", "leaky"] {
                album
                    .visit
                    .browser
                    .click(&format!("#{bucket} .last summary"));
            }
            album.visit.browser.picture(&directory().join("readme.png"));
        }
        album.add("end", name);
    }
    album.end("demonstration");
}

#[test]
fn axe_finds_no_error_in_the_other_states() {
    let file = PoliciesFile::new(POLICIES);
    let flags = ["-policies", file.path(), "-trust-caller"];
    let Some(mut album) = Album::start(&flags) else {
        return;
    };
    for (name, screen) in SCREENS {
        album.visit.browser.show_on(screen);
        album.visit.open();
        if name == "phone" {
            album.visit.browser.click("#own summary");
        }
        album.visit.select_policy("search");
        album.visit.browser.click("#burst");
        album.visit.wait_for("#leaky .dry-run", "Dry run");
        album.add("dry-run", name);
    }
    album.visit.browser.click("#policy [value='']");
    album.visit.redis.kill();
    for (name, screen) in SCREENS {
        album.visit.browser.show_on(screen);
        eventually("the outage", || {
            album.visit.browser.click("#one");
            let error = album.visit.browser.text_of("#leaky .error");
            error.starts_with("Not decided (503)").then_some(())
        });
        album.add("outage", name);
    }
    album.end("states");
}
