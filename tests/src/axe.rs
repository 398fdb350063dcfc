//! axe-core, which looks for accessibility errors in a page.

use std::fs;

use serde_json::Value;

use crate::{Browser, project};

/// What axe-core found in a page.
#[derive(Clone, Debug)]
pub struct AxeResult {
    /// Each element that breaks a rule: the rule, the element, and what to do.
    pub violations: Vec<String>,
    /// Each element that axe-core cannot decide on.
    pub undecided: Vec<String>,
    /// The number of rules that the page keeps.
    pub passed: usize,
}

impl AxeResult {
    /// Checks the page that the browser shows. Prints that this is skipped, and returns `None`, if axe-core is not
    /// there.
    ///
    /// # Panics
    ///
    /// If axe-core fails.
    pub fn of(browser: &mut Browser) -> Option<Self> {
        let Some(source) = source() else {
            println!("skipped: axe-core is not installed; tests/packages.sh full installs it");
            return None;
        };
        browser.run(&source);
        let result = browser.run_async("axe.run().then(done)");
        let rules = |kind: &str| result[kind].as_array().expect("a list of rules").clone();
        Some(Self {
            violations: rules("violations").iter().flat_map(elements).collect(),
            undecided: rules("incomplete").iter().flat_map(elements).collect(),
            passed: rules("passes").len(),
        })
    }
}

/// The script that `tests/servers.sh axe` fetched.
fn source() -> Option<String> {
    let dirs = fs::read_dir(project().join("tests/servers")).ok()?;
    let mut dirs = dirs.filter_map(|dir| Some(dir.ok()?.path()));
    let is_axe = |name: &str| name.starts_with("axe-core-");
    let dir = dirs.find(|dir| {
        dir.file_name()
            .is_some_and(|name| name.to_str().is_some_and(is_axe))
    })?;
    fs::read_to_string(dir.join("axe.min.js")).ok()
}

/// The elements that a rule reports.
fn elements(rule: &Value) -> Vec<String> {
    let elements = rule["nodes"].as_array().expect("a list of elements").iter();
    let text = |element: &Value| {
        let (target, advice) = (&element["target"], &element["failureSummary"]);
        format!("{}: {target}: {advice}", rule["id"])
    };
    elements.map(text).collect()
}
