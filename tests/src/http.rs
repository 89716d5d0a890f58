//! One HTTP request over whatever leads to a server, and its answer as it comes.

use std::io::{Read, Write};

/// Status, head and body. `headers` are lines, each with its end; what the length of the body is, is told.
#[track_caller]
pub fn request(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let length = match body.len() {
        0 => String::new(),
        bytes => format!("Content-Length: {bytes}\r\n"),
    };
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).expect("request");
    stream.write_all(body.as_bytes()).expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no HTTP answer: {answer}"));
    (status, head.to_owned(), body.to_owned())
}
