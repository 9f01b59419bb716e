//! The smallest HTTP client that can talk to the mock issuer's control address.
//!
//! HTTP/1.1, one request a connection, JSON bodies with a length; not for anything else.

use std::net::SocketAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::NetError;

/// `GET`, the body read as JSON.
///
/// # Errors
/// [`NetError::Connect`], [`NetError::Io`], or [`NetError::Http`] for a status other than 2xx or
/// another body.
pub async fn get<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, NetError> {
    json(&request(address, "GET", path, "").await?)
}

/// `PUT` of a JSON body, the answer's body read as JSON.
///
/// # Errors
/// As [`get`].
pub async fn put<T: DeserializeOwned>(address: SocketAddr, path: &str, body: &impl Serialize) -> Result<T, NetError> {
    let body = serde_json::to_string(body).map_err(|e| NetError::Http(e.to_string()))?;
    json(&request(address, "PUT", path, &body).await?)
}

/// `PUT` of a body that is JSON already.
///
/// # Errors
/// As [`get`].
pub async fn put_text(address: SocketAddr, path: &str, body: &str) -> Result<String, NetError> {
    request(address, "PUT", path, body).await
}

/// `GET`, the body as text.
///
/// # Errors
/// As [`get`].
pub async fn get_text(address: SocketAddr, path: &str) -> Result<String, NetError> {
    request(address, "GET", path, "").await
}

/// `DELETE`, the body as text.
///
/// # Errors
/// As [`get`].
pub async fn delete(address: SocketAddr, path: &str) -> Result<String, NetError> {
    request(address, "DELETE", path, "").await
}

fn json<T: DeserializeOwned>(body: &str) -> Result<T, NetError> {
    serde_json::from_str(body).map_err(|reason| NetError::Http(reason.to_string()))
}

async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, NetError> {
    let connected = TcpStream::connect(address).await;
    let mut tcp = connected.map_err(|reason| NetError::Connect { address, reason })?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await?;
    tcp.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    let not_http = || NetError::Http("the answer is not HTTP".to_owned());
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head.split(' ').nth(1).ok_or_else(not_http)?;
    if head.to_ascii_lowercase().contains("\r\ntransfer-encoding:") {
        return Err(NetError::Http("the body comes in chunks".to_owned()));
    }
    if !status.starts_with('2') {
        return Err(NetError::Http(format!("status {status}: {body}")));
    }
    Ok(body.to_owned())
}
