//! Downloads: ranges, conditions, going on after a break, and how curl finds them.

use hyper::Method;
use tokio::process::Command;

use crate::Served;
use crate::fake::{self, BROKEN, MISSING, SLOW};
use crate::http::{Answer, PATIENCE};

const PATH: &str = "/v1/models/download/org/m:x";
const TAG: &str = "\"bafyr4ifile\"";

async fn asked(served: &Served, method: Method, headers: &[(&str, &str)]) -> Answer {
    served.open(method, PATH, headers, vec![]).await.whole().await.unwrap()
}

#[tokio::test]
async fn a_file_comes_whole_with_what_is_needed_to_go_on_later() {
    let served = Served::start().await;
    let answer = asked(&served, Method::GET, &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == fake::file_bytes());
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert_eq!(answer.header("etag"), TAG);
    assert_eq!(answer.header("content-length"), "300000");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"tiny__.gguf\"; filename*=UTF-8''tiny%20%C3%A4.gguf",
    );
    let head = asked(&served, Method::HEAD, &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["accept-ranges", "etag", "content-length", "content-disposition", "content-type"] {
        assert_eq!(head.header(name), answer.header(name), "{name}");
    }
}

#[tokio::test]
async fn ranges_are_answered_with_exactly_their_bytes() {
    let served = Served::start().await;
    let all = fake::file_bytes();
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-20999", 1000, 21_000),
        ("bytes=299990-", 299_990, 300_000),
        ("bytes=-7", 299_993, 300_000),
        ("bytes=5-99999999999999999999", 5, 300_000),
    ] {
        let answer = asked(&served, Method::GET, &[("range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == all[start..end], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/300000", end - 1));
        assert_eq!(answer.header("content-length"), (end - start).to_string());
        assert_eq!(answer.header("etag"), TAG);
    }
    for range in ["bytes=300000-", "bytes=-0", "bytes=400000-400001"] {
        let answer = asked(&served, Method::GET, &[("range", range)]).await;
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{range}");
        assert_eq!(answer.header("content-range"), "bytes */300000");
    }
    for range in ["bytes=0-1,5-6", "lines=0-1", "bytes=9-1"] {
        let answer = asked(&served, Method::GET, &[("range", range)]).await;
        assert_eq!((answer.status, answer.body.len()), (200, 300_000), "{range}");
    }
}

#[tokio::test]
async fn conditions_are_held_against_the_tag() {
    let served = Served::start().await;
    for (headers, status) in [
        (&[("range", "bytes=0-4"), ("if-range", TAG)][..], 206),
        (&[("range", "bytes=0-4"), ("if-range", "\"another\"")], 200),
        (&[("range", "bytes=0-4"), ("if-range", "W/\"bafyr4ifile\"")], 200),
        (&[("range", "bytes=0-4"), ("if-range", "Sat, 21 Nov 2026 11:00:00 GMT")], 200),
        (&[("if-none-match", TAG)], 304),
        (&[("if-none-match", "\"x\", W/\"bafyr4ifile\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"x\"")], 200),
        (&[("if-match", TAG)], 200),
        (&[("if-match", "\"x\"")], 412),
    ] {
        let answer = asked(&served, Method::GET, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("etag"), TAG, "{headers:?}");
    }
}

#[tokio::test]
async fn the_file_of_a_tree_is_named_by_the_query() {
    let served = Served::start().await;
    let answer = served.get(&format!("{PATH}?file=a%2Fb.gguf")).await;
    assert_eq!(answer.status, 200);
    let asked = served.hive.asked.lock().unwrap()[0].clone();
    assert!(asked.contains("model: \"org/m:x\", file: Some(\"a/b.gguf\")"), "{asked}");
    assert_eq!(served.get(&format!("{PATH}?fil=x")).await.status, 400);
    let answer = served.get(&format!("/v1/models/download/{MISSING}")).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
}

/// The length was promised, so a reader can tell that it is not all.
#[tokio::test]
async fn damage_in_the_middle_cuts_the_connection() {
    let served = Served::start().await;
    let path = format!("/v1/models/download/{BROKEN}");
    let open = served.open(Method::GET, &path, &[], vec![]).await;
    assert_eq!(open.response.status(), 200);
    assert!(open.whole().await.is_err());
}

#[tokio::test]
async fn a_reader_that_goes_stops_the_reading() {
    let served = Served::start().await;
    let path = format!("/v1/models/download/{SLOW}");
    let open = served.open(Method::GET, &path, &[], vec![]).await;
    assert_eq!(open.response.status(), 200);
    drop(open);
    served.hive.dropped.notified().await;
}

/// The real one, as people use it. Debian has it in `curl`.
#[tokio::test]
async fn curl_goes_on_where_it_broke_off() {
    let served = Served::start().await;
    let all = fake::file_bytes();
    let file = served.home.path().join("tiny.gguf");
    std::fs::write(&file, &all[..123_456]).unwrap();
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--max-time", &PATIENCE.as_secs().to_string()]);
        curl.args(["-H", &format!("Authorization: Bearer {}", served.token())]);
        curl.arg(format!("http://127.0.0.1:{}{PATH}", served.port()));
        curl
    };
    let went_on = curl().args(["-C", "-", "-o"]).arg(&file).output().await.expect("curl is here");
    assert!(went_on.status.success(), "{went_on:?}");
    assert!(std::fs::read(&file).unwrap() == all, "the two parts fit together");
    let starts = served.hive.asked.lock().unwrap().clone();
    assert!(starts.last().unwrap().contains("start: 123456"), "{starts:?}");

    let all_at_once = curl().output().await.unwrap();
    assert!(all_at_once.status.success() && all_at_once.stdout == all);
}
