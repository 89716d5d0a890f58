//! A real browser: Chromium without a window, driven over its own pipe.
//!
//! DevTools' protocol is JSON, each message ended by a NUL, and Chromium reads it from descriptor 3 and writes it to
//! descriptor 4: what that takes is here, some requests and their answers. The crates that drive browsers bring fifty
//! others or the types of the whole protocol, and longer to build than all that the lab depends on.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the browser may take for its start, and for one answer.
const LIMIT: Duration = Duration::from_secs(20);

const MISSING: &str = "no chromium that answers: `tests/run` installs it";
/// Names that it resolves: evil.example is a page of the web whose name leads to loopback.
const NAMES: &str =
    "MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost";

/// A browser with one tab. It lives in the namespaces of the thread that started it.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    /// Of the tab.
    session: String,
    asked: u64,
    /// What pages said in the console, logged as wrong or threw.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Starts it with its files in `dir`.
    #[track_caller]
    pub fn start(dir: &Path) -> Self {
        // Root has no sandbox of Chromium's. Nothing is fetched but what a test names: the lab's traffic is
        // counted.
        let line = format!(
            "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-background-networking --disable-component-update --disable-sync \
             --disable-default-apps --disable-extensions --mute-audio \
             --host-resolver-rules='{NAMES}' \
             --user-data-dir={} --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null",
            dir.join("browser").display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .env("HOME", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0) {
                let Ok(bytes) = message else { return };
                let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let session = String::new();
        let mut browser =
            Self { child, requests, messages, session, asked: 0, complaints: Vec::new() };
        let targets = browser.ask("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().expect("targets");
        let tab = targets.iter().find(|target| target["type"] == "page").expect("a tab");
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Audits"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// One request and its answer.
    #[track_caller]
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut request = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            request["sessionId"] = self.session.clone().into();
        }
        let text = request.to_string() + "\0";
        self.requests.write_all(text.as_bytes()).expect(MISSING);
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let message = message.unwrap_or_else(|e| panic!("{method}: {e}; {MISSING}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    /// Keeps what is wrong with a page.
    fn note(&mut self, message: &Value) {
        let of = &message["params"];
        let is_wrong = match message["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Audits.issueAdded") => true,
            Some("Runtime.consoleAPICalled") => {
                matches!(of["type"].as_str(), Some("error" | "warning" | "assert"))
            }
            Some("Log.entryAdded") => {
                matches!(of["entry"]["level"].as_str(), Some("error" | "warning"))
            }
            _ => false,
        };
        if is_wrong {
            self.complaints.push(of.to_string());
        }
    }

    /// The size of what is seen, in pixels, and whether the system prefers dark.
    pub fn view(&mut self, width: u32, height: u32, is_dark: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.ask("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// Opens an address and waits until it is loaded.
    #[track_caller]
    pub fn open(&mut self, address: &str) {
        let answer = self.ask("Page.navigate", json!({ "url": address }));
        assert!(answer["errorText"].is_null(), "{address}: {}", answer["errorText"]);
        self.wait("document.readyState === 'complete'");
    }

    /// What an expression of JavaScript comes to in the page, a promise waited for.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        self.evaluate(expression).unwrap_or_else(|thrown| panic!("{expression}: {thrown}"))
    }

    /// The same, or what it threw.
    fn evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", parameters);
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(thrown.clone()),
        }
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let end = Instant::now() + LIMIT;
        let question = format!("!!({expression})");
        loop {
            let answer = self.evaluate(&question);
            if answer == Ok(true.into()) {
                return;
            }
            assert!(Instant::now() < end, "{expression}: {answer:?}\n{:?}", self.complaints);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and releases a key, as `KeyboardEvent.key` names it.
    pub fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "text": text }));
        }
    }

    /// Clicks where the first element that fits a selector is.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let middle = self.value(&format!(
            "(() => {{ const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center' }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let at = json!({ "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", at);
        }
    }

    /// What is seen, as a PNG.
    pub fn screenshot(&mut self, path: &Path) {
        use base64::Engine;
        let answer = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        let data = answer["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::write(path, bytes).expect("the screenshot");
    }

    /// Ends it.
    #[track_caller]
    pub fn close(mut self) {
        self.session.clear();
        self.ask("Browser.close", json!({}));
        let _ = self.child.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
