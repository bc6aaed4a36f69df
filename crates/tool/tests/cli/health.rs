//! `health`: what a container's health check asks.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::tool::Tool;
use testkit::port::port_to_listen_on;
use testkit::{assert_contains, assert_starts};

/// Answers one request in this way, and returns the URL to ask.
async fn answers(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/healthz", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert_starts(
            &String::from_utf8_lossy(&request[..read]),
            "GET /healthz HTTP/1.1\r\n",
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    url
}

#[tokio::test]
async fn a_healthy_drain_ends_the_check_with_0_and_any_other_with_3() {
    let healthy = answers("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await;
    let ended = Tool::bare().run(&format!("health {healthy}")).await;
    let ended = ended.exits(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));

    let unavailable =
        answers("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let ended = Tool::bare().run(&format!("health {unavailable}")).await;
    assert_contains(&ended.exits(3).err, "answered with status 503");

    let url = format!("http://127.0.0.1:{}/healthz", port_to_listen_on());
    let ended = Tool::bare().run(&format!("health {url}")).await.exits(3);
    assert_starts(&ended.err, &format!("unhealthy: {url} does not answer ("));

    let hangs_up = answers("").await;
    let ended = Tool::bare().run(&format!("health {hangs_up}")).await;
    assert_contains(&ended.exits(3).err, "does not answer (");
}

#[tokio::test]
async fn the_check_refuses_what_is_not_a_url_of_http() {
    for url in ["https://127.0.0.1/healthz", "/healthz", "127.0.0.1:9090"] {
        let ended = Tool::bare().run(&format!("health {url}")).await.exits(2);
        assert_contains(&ended.err, "give a URL of HTTP");
    }
}
