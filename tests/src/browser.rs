//! A real Chromium without a window, driven through chromedriver by the WebDriver protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, Process, eventually, send};

/// What keeps Chromium to the page it is sent to, without a scroll bar in pictures. As root it does not run in its sandbox, and
/// where a container leaves 64 MB of `/dev/shm` its tabs crash.
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

/// The name under which WebDriver gives an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What a page is shown on.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Pixels for each of them.
    pub scale: u32,
    /// Whether a finger is its pointer.
    pub is_phone: bool,
    /// Whether dark colours are preferred.
    pub is_dark: bool,
    /// Whether less motion is preferred.
    pub is_still: bool,
}

/// A request, and the page that made it.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The address of the page.
    pub page: String,
    /// What was requested.
    pub url: String,
}

/// A running Chromium with one tab; both it and its driver end when it is dropped.
#[derive(Debug)]
pub struct Browser {
    stream: TcpStream,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, or says that it is skipped where Debian's chromium and chromium-driver are not installed.
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
                "skipped: there is no Chromium with its driver; tests/packages.sh full installs it"
            );
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let driver = Process::from(driver);
        let port: u16 = lines
            .find_map(|line| {
                let line = line.expect("its words are text");
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver says its port");
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("chromedriver listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let profile = tempfile::tempdir().expect("a directory");
        let mut browser = Self {
            stream,
            session: String::new(),
            _driver: driver,
            _profile: profile,
        };
        browser.begin_session();
        Some(browser)
    }

    fn begin_session(&mut self) {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let arguments = [&ARGUMENTS[..], &[&profile]].concat();
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let begun = self.post("session", &body);
        self.session = text(&begun["sessionId"]);
    }

    /// Loads a page.
    pub fn open(&mut self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// What an expression of JavaScript gives in the page.
    fn value_of(&mut self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text that is shown of the first element of a CSS selector; empty if it is hidden.
    ///
    /// # Panics
    ///
    /// If there is no such element.
    pub fn text_of(&mut self, selector: &str) -> String {
        let element = format!("document.querySelector({selector:?})");
        text(&self.value_of(&format!(
            "{element}.checkVisibility() ? {element}.innerText : ''"
        )))
    }

    /// Clicks the first element of a CSS selector, as a user does.
    pub fn click(&mut self, selector: &str) {
        self.act_on(selector, "click", &json!({}));
    }

    /// Presses keys while the first element of a CSS selector has the focus.
    pub fn press(&mut self, selector: &str, keys: &str) {
        self.act_on(selector, "value", &json!({ "text": keys }));
    }

    /// Types into a field, in the place of what stands there.
    pub fn fill_in(&mut self, selector: &str, words: &str) {
        self.act_on(selector, "clear", &json!({}));
        self.press(selector, words);
    }

    fn act_on(&mut self, selector: &str, action: &str, body: &Value) {
        let wanted = json!({ "using": "css selector", "value": selector });
        let element = text(&self.command("element", &wanted)[ELEMENT]);
        self.command(&format!("element/{element}/{action}"), body);
    }

    /// Hides the page, as when its window is minimised: chromedriver's own command fails where that takes a moment.
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

    /// Leaves a picture of what the screen shows, or of the whole page.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn picture(&mut self, file: &Path, is_whole: bool) {
        let wanted = json!({ "format": "png", "captureBeyondViewport": is_whole });
        let shot = self.devtools("Page.captureScreenshot", &wanted);
        let png = STANDARD.decode(text(&shot["data"])).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("it is made");
        std::fs::write(file, png).expect("a picture");
    }

    /// What Chromium has complained of in the page, since this was last asked.
    pub fn complaints(&mut self) -> Vec<String> {
        let entries = self.log("browser");
        entries
            .iter()
            .map(|entry| text(&entry["message"]))
            .collect()
    }

    /// What has been requested since this was last asked, by any page.
    ///
    /// # Panics
    ///
    /// If Chromium's log is none.
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

/// The driver alone would be killed, and leave its Chromium behind.
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
