//! A real browser: Chromium without a window, spoken to by the DevTools protocol over its own pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::condition::eventually;
use crate::skip::skip;

/// One page. It ends when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    sent: u64,
    session: String,
}

/// What a page may be told to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// None: there is no Chromium, and `test` has said so.
    ///
    /// `command` makes a command of a program's name: as which user, in which namespaces. The browser keeps its profile in
    /// `profile`, which that user must be able to write.
    #[track_caller]
    pub fn start(test: &str, profile: &Path, command: impl Fn(&str) -> Command) -> Option<Self> {
        let found = Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            skip(test, "no chromium");
            return None;
        }
        // It reads commands from descriptor 3 and writes to 4: our pipes. Its own sandbox needs a user namespace of its
        // own making, which not every place that tests run in gives.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --disable-background-networking --hide-scrollbars --remote-debugging-pipe \
                      --user-data-dir=\"$1\" about:blank 3<&0 4>&1 >/dev/null </dev/null";
        let mut child = command("sh");
        child
            .args(["-c", script, "sh"])
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = child.spawn().expect("a shell");
        let mut browser = Self {
            to: child.stdin.take().expect("piped"),
            from: BufReader::new(child.stdout.take().expect("piped")),
            child,
            sent: 0,
            session: String::new(),
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        session["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        browser.call("Page.enable", json!({}));
        browser.size(1200, 900);
        Some(browser)
    }

    /// In pixels.
    #[track_caller]
    pub fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    #[track_caller]
    pub fn scheme(&mut self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Goes there, and waits until the page and all it needs have been loaded.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        eventually(&format!("{url} is loaded"), || {
            let state = self.value("document.readyState + ' ' + location.href");
            if state
                .as_str()
                .is_some_and(|s| s.starts_with("complete ") && !s.ends_with("about:blank"))
            {
                Ok(())
            } else {
                Err(state)
            }
        });
    }

    /// The value of a JavaScript expression in the page; a promise is awaited.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let value = self.try_value(expression);
        value.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is true. While the page is being changed for another there is none to ask.
    #[track_caller]
    pub fn wait_until(&mut self, expression: &str) {
        eventually(expression, || match self.try_value(expression) {
            Ok(value) if value == true => Ok(()),
            answer => Err((answer, self.try_value("document.body.innerText"))),
        });
    }

    fn try_value(&mut self, expression: &str) -> Result<Value, Value> {
        let evaluate = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.try_call("Runtime.evaluate", evaluate)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            exception => Err(exception.clone()),
        }
    }

    /// A PNG of what the window shows, in base64.
    #[track_caller]
    pub fn picture(&mut self) -> String {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        picture["data"].as_str().expect("base64").to_owned()
    }

    /// Keeps what the window shows as `NAME.png` in the directory `LENO_SCREENSHOTS`, if somebody wants to look at it.
    #[track_caller]
    pub fn keep(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("LENO_SCREENSHOTS") else {
            return;
        };
        let picture = decode(&self.picture());
        let path = Path::new(&directory).join(format!("{name}.png"));
        std::fs::create_dir_all(&directory).expect("a directory for screenshots");
        std::fs::write(path, picture).expect("a screenshot can be written");
    }

    /// A key, as the user who looks at the page presses it: `Tab`, `/`, `ArrowRight`.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// One command of the DevTools protocol, and its answer; what happens meanwhile is left unread.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text).expect("chromium reads");
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).expect("chromium writes");
            assert_eq!(answer.pop(), Some(0), "chromium ended during {method}");
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            if answer["id"] == self.sent {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
        }
    }
}

/// Base64, from a program that writes it right.
fn decode(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
