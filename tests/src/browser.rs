//! A headless Chromium, controlled by chromedriver over the WebDriver protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, Process, eventually, send};

/// Keeps Chromium from making requests of its own and hides scroll bars in screenshots. The sandbox does not work as
/// root. In a container that gives `/dev/shm` only 64 MB tabs crash, so it is not used.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// The property that holds an element's id in a WebDriver response.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The screen that a page is shown on.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Device pixels per CSS pixel.
    pub scale: u32,
    /// Whether it is a touch screen.
    pub is_phone: bool,
    /// Whether the user prefers dark colours.
    pub is_dark: bool,
    /// Whether the user prefers reduced motion.
    pub is_still: bool,
}

/// A request, and the page that made it.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The URL of the page.
    pub page: String,
    /// The requested URL.
    pub url: String,
}

/// A running Chromium with one tab. Dropping it ends Chromium and its driver.
#[derive(Debug)]
pub struct Browser {
    stream: TcpStream,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium. Prints that the test is skipped, and returns `None`, if Debian's chromium and chromium-driver
    /// are not installed.
    ///
    /// # Panics
    ///
    /// If they are installed and do not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            println!(
                "skipped: Chromium or its driver is not installed; tests/packages.sh full installs both"
            );
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let driver = Process::from(driver);
        let port: u16 = lines
            .find_map(|line| {
                let line = line.expect("the output is UTF-8");
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver prints its port");
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("chromedriver listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let profile = tempfile::tempdir().expect("a directory");
        let mut browser = Self {
            stream,
            session: String::new(),
            _driver: driver,
            _profile: profile,
        };
        browser.start_session();
        Some(browser)
    }

    fn start_session(&mut self) {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let arguments = [&ARGUMENTS[..], &[&profile]].concat();
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = self.post("session", &body);
        self.session = text(&session["sessionId"]);
    }

    /// Loads a page.
    pub fn open(&mut self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// Runs a script in the page, in spite of its content security policy.
    pub(crate) fn run(&mut self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script in the page that calls `done`, and returns what it calls it with.
    pub(crate) fn run_async(&mut self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.command("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// The value of a JavaScript expression in the page.
    fn value_of(&mut self, expression: &str) -> Value {
        self.run(&format!("return {expression}"))
    }

    /// The visible text of the first element that matches a CSS selector; empty if it is hidden.
    ///
    /// # Panics
    ///
    /// If no element matches.
    pub fn text_of(&mut self, selector: &str) -> String {
        let element = format!("document.querySelector({selector:?})");
        text(&self.value_of(&format!(
            "{element}.checkVisibility() ? {element}.innerText : ''"
        )))
    }

    /// Clicks the first element that matches a CSS selector, as a user does.
    pub fn click(&mut self, selector: &str) {
        self.act_on(selector, "click", &json!({}));
    }

    /// Sends keys to the first element that matches a CSS selector.
    pub fn press(&mut self, selector: &str, keys: &str) {
        self.act_on(selector, "value", &json!({ "text": keys }));
    }

    /// Replaces the contents of a field.
    pub fn fill_in(&mut self, selector: &str, words: &str) {
        self.act_on(selector, "clear", &json!({}));
        self.press(selector, words);
    }

    fn act_on(&mut self, selector: &str, action: &str, body: &Value) {
        let wanted = json!({ "using": "css selector", "value": selector });
        let element = text(&self.command("element", &wanted)[ELEMENT]);
        self.command(&format!("element/{element}/{action}"), body);
    }

    /// Hides the page, as a minimised window does. chromedriver's own command fails if minimising takes a moment.
    pub fn hide(&mut self) {
        let window = self.devtools("Browser.getWindowForTarget", &json!({}));
        let minimised = json!({
            "windowId": window["windowId"],
            "bounds": { "windowState": "minimized" },
        });
        self.devtools("Browser.setWindowBounds", &minimised);
        eventually("a hidden page", || {
            let is_hidden = self.value_of("document.hidden") == json!(true);
            is_hidden.then_some(())
        });
    }

    /// Shows the page on another screen.
    pub fn show_on(&mut self, screen: Screen) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": screen.width,
                "height": screen.height,
                "deviceScaleFactor": screen.scale,
                "mobile": screen.is_phone,
            }),
        );
        self.devtools(
            "Emulation.setTouchEmulationEnabled",
            &json!({ "enabled": screen.is_phone }),
        );
        let colours = if screen.is_dark { "dark" } else { "light" };
        let motion = if screen.is_still { "reduce" } else { "" };
        let preferences = json!([
            { "name": "prefers-color-scheme", "value": colours },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": preferences }),
        );
    }

    /// Writes a picture of the whole page.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn picture(&mut self, file: &Path) {
        let wanted = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", &wanted);
        let png = STANDARD.decode(text(&shot["data"])).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("created");
        std::fs::write(file, png).expect("a picture");
    }

    /// The messages that Chromium has logged for the page since the last call.
    pub fn complaints(&mut self) -> Vec<String> {
        let entries = self.log("browser");
        entries
            .iter()
            .map(|entry| text(&entry["message"]))
            .collect()
    }

    /// The requests that pages have made since the last call.
    ///
    /// # Panics
    ///
    /// If Chromium's log is malformed.
    pub fn requests(&mut self) -> Vec<PageRequest> {
        let entries = self.log("performance");
        let events = entries.iter().map(|entry| {
            serde_json::from_str::<Value>(&text(&entry["message"])).expect("an event")
        });
        let sent = events
            .map(|event| event["message"].clone())
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| PageRequest {
            page: text(&event["params"]["documentURL"]),
            url: text(&event["params"]["request"]["url"]),
        })
        .collect()
    }

    fn log(&mut self, kind: &str) -> Vec<Value> {
        let entries = self.command("se/log", &json!({ "type": kind }));
        entries.as_array().expect("a list").clone()
    }

    fn devtools(&mut self, command: &str, parameters: &Value) -> Value {
        self.command(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    fn command(&mut self, path: &str, body: &Value) -> Value {
        self.post(&format!("session/{}/{path}", self.session), body)
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = send(&mut self.stream, &request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["value"].clone()
    }
}

/// Ends the session, because killing the driver alone would leave Chromium running.
impl Drop for Browser {
    fn drop(&mut self) {
        let session = &self.session;
        let end = format!("DELETE /session/{session} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // Nothing here may panic: the test may be failing already.
        if self.stream.write_all(end.as_bytes()).is_ok() {
            let _ = self.stream.read(&mut [0]);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
