//! `finepick` at work, its standard error read line by line.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Stdio};

use serde_json::Value;

use crate::{binary, command};

/// A command that is followed.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Following {
    /// Starts `finepick`.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = command(&binary("finepick"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("finepick can be started");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads until so many lines hold the text; returns all that was read.
    pub fn until(&mut self, text: &str, times: usize) -> Vec<String> {
        let mut left = times;
        let mut read = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            left -= usize::from(line.contains(text));
            read.push(line);
            if left == 0 {
                return read;
            }
        }
        panic!("{text:?} comes not {times} times: {read:#?}");
    }

    /// The exit status, the JSON that was printed, and the rest of standard error.
    #[must_use]
    pub fn end(self) -> (i32, Value, Vec<String>) {
        let rest = self.lines.map(|line| line.expect("text")).collect();
        let output = self.child.wait_with_output().expect("it ends");
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().expect("no signal"), answer, rest)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), None, "by the signal, not before it");
    }
}
