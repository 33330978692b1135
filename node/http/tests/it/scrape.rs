//! Figures on a listener of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use hive_http::Scrape;

use crate::fake::Fake;
use crate::raw::send;

#[tokio::test]
async fn the_open_listener_gives_figures_and_nothing_else() {
    let hive = Arc::new(Fake::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let scrape = Scrape::start(any, Arc::<Fake>::clone(&hive)).await.unwrap();
    let port = scrape.address().port();
    let ask = async |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: node:9464\r\nConnection: close\r\n\r\n");
        send(port, &request).await
    };
    let reply = ask("GET /metrics").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.text.contains("hive_peers 3"), "{}", reply.text);
    for path in ["/", "/metrics/", "/hive/v1/status", "/health", "/v1/models", "/openapi.json"] {
        assert_eq!(ask(&format!("GET {path}")).await.status, 404, "{path}");
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        assert_eq!(ask(&format!("{method} /metrics")).await.status, 405, "{method}");
    }
    assert_eq!(*hive.asked.lock().unwrap(), ["metrics"]);
    scrape.shutdown().await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
