//! What the fake node answers.

use hive_api::{
    AddEvent, Added, CapabilitySummary, Check, Choice, Device, DhtPart, Diagnosis, Discovered,
    Embeddings, ErrorKind, FetchEvent, FetchPeer, FetchSummary, Finish, Fit, Generated, HiveError,
    Identity, Listing, LoadedModel, Mapping, ModelDetails, ModelFile, ModelInfo, ModelKind,
    ModelSummary, Nat, Offer, PeerLink, PeerName, PeerPath, PeerSummary, PullEvent, QuantizeEvent,
    Reachability, RelayService, RelayUse, RunEvent, Status, Storage, TemplateSource, TokenLogprob,
    ToolCall, UpnpState, VerifyEvent, Visibility,
};

pub(crate) fn failure() -> HiveError {
    HiveError {
        kind: ErrorKind::Verification,
        messages: vec!["group 3 of `gemma` is wrong".into(), "digest differs: ä \"quoted\"".into()],
        hint: Some("`hive verify --repair`".into()),
    }
}

pub(crate) fn summary() -> ModelSummary {
    ModelSummary {
        cid: "bafyr4iabc".into(),
        name: "gemma3:270m".into(),
        size: u64::MAX,
        present: 1 << 40,
        visibility: Visibility::Unlisted,
        pinned: true,
        storage: Storage::Hardlink,
        path: "/home/ä b/models/gemma".into(),
        damaged: Some("one group".into()),
    }
}

/// A model that is here whole.
pub(crate) fn whole(name: &str, cid: &str) -> ModelSummary {
    ModelSummary {
        cid: cid.into(),
        name: name.into(),
        size: 9,
        present: 9,
        damaged: None,
        ..summary()
    }
}

/// Some models; two of them share a name, one is not whole.
pub(crate) fn models() -> Vec<ModelSummary> {
    vec![
        summary(),
        whole("org/tiny:q4", "bafyr4iaaa"),
        whole("twin", "bafyr4ibbb"),
        whole("twin", "bafyr4iccc"),
    ]
}

pub(crate) fn details() -> ModelDetails {
    ModelDetails {
        summary: summary(),
        files: vec![ModelFile {
            path: "a/b.gguf".into(),
            cid: "bafyr4ifile".into(),
            size: 7,
            sha256: Some("ab".repeat(32)),
        }],
        chunks: 12,
        format: Some("gguf".into()),
        architecture: None,
        quantization: Some("Q4_K_M".into()),
        parameters: Some(270_000_000),
        context_length: Some(32_768),
        license: Some("gemma".into()),
        fit: Some(Fit {
            needed: 1 << 30,
            context: 4096,
            free: 1 << 31,
            total: 1 << 32,
            fits: true,
            load_seconds: Some(0.5),
            tokens_per_second: None,
            measured: true,
        }),
        fetch_seconds: Some(1.5),
        holders: vec![named("12D3KooWx")],
    }
}

pub(crate) fn named(peer: &str) -> PeerName {
    PeerName { peer: peer.into(), name: Some("attic".into()) }
}

pub(crate) fn added() -> Vec<AddEvent> {
    vec![
        AddEvent::Progress { bytes: 1, total: 2 },
        AddEvent::Done(Added {
            cid: "bafyr4iabc".into(),
            name: "x".into(),
            size: 2,
            chunks: 1,
            storage: Storage::Reflink,
            notes: vec!["`.env` taken in".into()],
        }),
    ]
}

pub(crate) fn fetched() -> Vec<FetchEvent> {
    let peers = || {
        vec![FetchPeer {
            peer: "12D3KooWx".into(),
            name: None,
            bytes: 5,
            struck: true,
            rate: 0.1 + 0.2,
        }]
    };
    vec![
        FetchEvent::Searching { cid: "c".into() },
        FetchEvent::Manifest { cid: "c".into(), name: "n".into(), size: 9, present: 4 },
        FetchEvent::Peer { peer: "12D3KooWx".into(), name: Some("attic".into()) },
        FetchEvent::Struck { peer: "12D3KooWx".into(), name: None, reason: "wrong\nbytes".into() },
        FetchEvent::Note {
            text: "only through a relay".into(),
            hint: Some("`--relay-bulk`".into()),
        },
        FetchEvent::Progress { bytes: 5, size: 9, rate: 1.5e8, eta: None, peers: peers() },
        FetchEvent::Done {
            cid: "c".into(),
            path: "/p".into(),
            bytes: 9,
            seconds: 0.5,
            peers: peers(),
        },
    ]
}

/// What became of a text.
pub(crate) fn generated(finish: Finish) -> Generated {
    Generated {
        finish,
        prompt_tokens: 3,
        cached_tokens: 2,
        generated_tokens: 4,
        prompt_seconds: 0.125,
        generate_seconds: 1.0 / 3.0,
    }
}

pub(crate) fn info() -> ModelInfo {
    ModelInfo {
        architecture: "llama".into(),
        name: Some("tiny".into()),
        kind: ModelKind::Generate,
        template: Some(TemplateSource::File),
        parameters: 7,
        context_length: 64,
        width: 8,
        vocab_size: 300,
        weight_bytes: 9,
        bytes_per_token: 10,
    }
}

pub(crate) fn loaded_event() -> RunEvent {
    RunEvent::Loaded { cid: Some("bafyr4iabcdefgh".into()), seconds: 0.25, info: info() }
}

/// A token and one that it was chosen over.
pub(crate) fn token(bytes: &[u8]) -> TokenLogprob {
    let other =
        TokenLogprob { token: 9, bytes: b"no".to_vec(), logprob: f32::NEG_INFINITY, top: vec![] };
    TokenLogprob { token: 1, bytes: bytes.to_vec(), logprob: -0.5, top: vec![other] }
}

pub(crate) fn ran() -> Vec<RunEvent> {
    vec![
        RunEvent::Queued { position: 1 },
        loaded_event(),
        RunEvent::Text { text: "Hällo\n\"wörld\" \u{1F41D}".into(), tokens: vec![] },
        RunEvent::ToolCall(ToolCall { id: "1".into(), name: "f".into(), arguments: "{}".into() }),
        RunEvent::Done(generated(Finish::Length)),
    ]
}

pub(crate) fn pulled() -> Vec<PullEvent> {
    let AddEvent::Done(done) = added().remove(1) else { unreachable!("the last is `Done`") };
    vec![
        PullEvent::Found {
            source: "hf:a/b@c".into(),
            files: 2,
            size: 9,
            present: 1,
            notes: vec!["two files are left behind".into()],
        },
        PullEvent::Progress { bytes: 1, size: 9, rate: 0.5, eta: Some(2.0) },
        PullEvent::Retry { reason: "429".into(), seconds: 1.5 },
        PullEvent::Adding { bytes: 1, total: 9 },
        PullEvent::Done(done),
    ]
}

pub(crate) fn quantized() -> Vec<QuantizeEvent> {
    let AddEvent::Done(done) = added().remove(1) else { unreachable!("the last is `Done`") };
    vec![QuantizeEvent::Progress { done: 1, total: 2 }, QuantizeEvent::Done(done)]
}

pub(crate) fn listing() -> Listing {
    Listing {
        source: "hf:a/b@c".into(),
        license: Some("mit".into()),
        choices: vec![Choice {
            file: "x-Q8_0.gguf".into(),
            label: "Q8_0".into(),
            size: 9,
            files: vec!["x-Q8_0.gguf".into()],
            cached: Some("/c/x".into()),
            fits: Some(true),
        }],
    }
}

pub(crate) fn discovered() -> Vec<Discovered> {
    vec![Discovered { source: "ollama:x:latest".into(), path: "/o/x".into(), size: 3 }]
}

pub(crate) fn embeddings(texts: usize) -> Embeddings {
    let vectors = (0..texts).map(|i| vec![i as f32, 0.5, -1.0]).collect();
    Embeddings { cid: Some("bafyr4iabc".into()), vectors, tokens: 5 }
}

pub(crate) fn loaded() -> Vec<LoadedModel> {
    vec![LoadedModel {
        cid: Some("bafyr4iabc".into()),
        name: "gemma3:270m".into(),
        info: info(),
        device: Device::Cpu,
        pid: Some(7),
        memory: 1 << 28,
        active: 1,
        queued: 2,
        expires: Some(299.5),
        sandbox: vec!["landlock".into()],
    }]
}

/// Figures in the form of OpenMetrics.
pub(crate) const FIGURES: &str = "# TYPE hive_peers gauge\nhive_peers 3\n# EOF\n";

/// The file that every model of the fake has.
pub(crate) fn file_bytes() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) fn file() -> ModelFile {
    ModelFile {
        path: "weights/tiny ä.gguf".into(),
        cid: "bafyr4ifile".into(),
        size: file_bytes().len() as u64,
        sha256: None,
    }
}

pub(crate) fn verified() -> Vec<VerifyEvent> {
    vec![
        VerifyEvent::Progress { bytes: 1, total: 3 },
        VerifyEvent::Damaged {
            cid: "c".into(),
            path: "p".into(),
            offset: 1 << 20,
            len: 9,
            reason: "differs".into(),
        },
        VerifyEvent::Repaired { cid: "c".into(), bytes: 9 },
        VerifyEvent::Done { models: 1, bytes: 3, damaged: 1, repaired: 1 },
    ]
}

pub(crate) fn offers() -> Vec<Offer> {
    vec![Offer {
        cid: "c".into(),
        name: "n".into(),
        kind: "model".into(),
        size: 1,
        description: "gguf llama Q4_0".into(),
        license: None,
        publisher: "12D3KooWp".into(),
        peers: vec![named("12D3KooWx")],
        here: false,
        parameters: Some(5),
        fits: Some(true),
    }]
}

pub(crate) fn peers() -> Vec<PeerSummary> {
    vec![PeerSummary {
        peer: "12D3KooWx".into(),
        name: Some("attic".into()),
        agent: None,
        connected: true,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        transports: vec!["tcp".into()],
        path: Some(PeerPath::Relayed),
        links: vec![PeerLink {
            transport: "relay".into(),
            address: "/ip4/127.0.0.1/tcp/1".into(),
            relay: Some("12D3KooWr".into()),
            allows_bulk: true,
            age: 1.5,
            outbound: true,
        }],
        goodput: Some(2.5e7),
        why: Some("symmetric NAT on both sides".into()),
        rtt_ms: Some(0.7),
        banned_secs: Some(3600),
        capability: Some(CapabilitySummary {
            runs: vec!["llama".into()],
            models: 2,
            memory: 1 << 34,
            memory_free: 1 << 33,
            cores: 8,
            load: 250,
        }),
    }]
}

pub(crate) fn identity() -> Identity {
    Identity { peer: "12D3KooWme".into(), addresses: vec!["/ip4/1.2.3.4/tcp/4483/p2p/me".into()] }
}

pub(crate) fn status() -> Status {
    Status {
        peer: "12D3KooWme".into(),
        name: Some("desk".into()),
        addresses: vec![],
        connected: 3,
        models: 4,
        fetches: vec![FetchSummary {
            cid: "c".into(),
            name: "n".into(),
            bytes: 1,
            size: 2,
            rate: 3.5,
            peers: 4,
        }],
        network: "main".into(),
        membership: Some(super::networks::own()),
        home: "/h".into(),
        version: "0.1.0".into(),
        uptime: 1.25,
        uploaded: 6,
        disk_used: 7,
        disk_free: 8,
        reachability: Reachability::Relayed,
        nat: Nat { tcp: Mapping::Cone, udp: Mapping::Symmetric },
        external: vec!["/ip4/1.2.3.4/tcp/1/p2p/x".into()],
        observed: vec!["/ip4/1.2.3.4/tcp/2".into()],
        dht: DhtPart { server: false, peers: 9 },
        relays: vec![RelayUse {
            peer: "12D3KooWr".into(),
            reserved: false,
            allows_bulk: false,
            trouble: Some("it is full".into()),
        }],
        upnp: UpnpState::Mapped { addresses: vec!["/ip4/1.2.3.4/tcp/3".into()], confirmed: false },
        relay: Some(RelayService {
            reservations: 1,
            circuits: 2,
            bytes: 3,
            refused: [("over its bytes".to_owned(), 4)].into(),
            over_budget: 5,
            allows_bulk: true,
        }),
        lan_only: true,
    }
}

pub(crate) fn diagnosis() -> Diagnosis {
    let checks = vec![
        Check::ok("disk", "12 GB free"),
        Check::warn("upnp", "no gateway", "forward port 4483"),
        Check::fail("relays", "none answers", "`--relay ADDR`"),
    ];
    Diagnosis::of(true, checks)
}
