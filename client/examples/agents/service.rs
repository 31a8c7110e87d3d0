//! A generated service that runs: started on a free port, and called over HTTP.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bravo_client::Failure;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::process::Group;

/// How long the service may take to begin, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A service at work. Dropping it ends its process.
pub(crate) struct Service {
    group: Group,
    address: String,
    /// What each request carries.
    pub(crate) headers: Vec<(String, String)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Service {
    /// Starts a program that keeps its files in a folder, and learns where it listens.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.env("ADDR", "127.0.0.1:0").env("DATA_DIR", folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut group = Group::start(&mut command).await?;
        let mut line = String::new();
        if let Some(stdout) = group.child.stdout.take() {
            let late = |_| Failure::new("the program does not say where it listens");
            tokio::time::timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await.map_err(late)??;
        }
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        let address = address.ok_or_else(|| Failure::new(format!("the program said: {line}")))?;
        Ok(Self { group, address, headers: Vec::new() })
    }

    /// Ends the process.
    pub(crate) async fn stop(self) {
        self.group.kill().await;
    }

    /// One request.
    pub(crate) async fn call(&self, method: &str, target: &str, body: &Value) -> Result<Answer, Failure> {
        self.call_with(method, target, body, &self.headers).await
    }

    /// One request with these headers instead of its own.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        target: &str,
        body: &Value,
        headers: &[(String, String)],
    ) -> Result<Answer, Failure> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        let talk = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let late = |_| Failure::new(format!("{method} {target}: no answer"));
        let answer = tokio::time::timeout(PATIENCE, talk).await.map_err(late)??;
        parse(&answer).ok_or_else(|| Failure::new(format!("{method} {target}: {}", String::from_utf8_lossy(&answer))))
    }
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..end]).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Answer { status, headers: headers.collect(), body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 404 Refused\r\ncontent-type: application/json\r\n\r\n{\"error\":\"x\"}").unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/json")));
        assert_eq!(answer.json()["error"], "x");
        assert!(parse(b"HTTP/1.1 200").is_none());
    }
}
