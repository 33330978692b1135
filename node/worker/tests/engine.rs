//! An engine that does what its prompt says: answer, hang, crash, eat memory, try to break out.
//!
//! It is in the tests' own process and in the child that they start.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use hive_api::{
    Embedded, Engine, EngineError, EngineOptions, Failure, FailureKind, Finish, GenerateRequest,
    Generated, ModelInfo, ModelKind, Output, Part, Piece, Prompt, Quantization, Ticket,
};
use hive_worker::Backend;

pub(crate) fn backend() -> Backend {
    Backend { load: Arc::new(load), quantize: Arc::new(quantize) }
}

fn load(parts: Vec<Part>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    let mut text = String::new();
    let mut names = Vec::new();
    for part in parts {
        names.push(part.path.clone());
        if part.path != "unread" {
            part.reader().read_to_string(&mut text).map_err(EngineError::Io)?;
        }
    }
    match text.trim() {
        "invalid" => return Err(EngineError::Invalid { reason: "it says so".into() }),
        "abort" => std::process::abort(),
        "spin" => spin(),
        _ => {}
    }
    let info = ModelInfo {
        architecture: "test".into(),
        name: Some(format!("{}: {text}", names.join("+"))),
        kind: ModelKind::Generate,
        template: None,
        parameters: 1,
        context_length: 100,
        width: 2,
        vocab_size: 3,
        weight_bytes: 4,
        bytes_per_token: 0,
    };
    let places = options.places as usize;
    Ok(Box::new(Test { info, places, texts: VecDeque::new(), broken: false }))
}

/// Writes what it read, and its target.
fn quantize(
    mut parts: Vec<Part>,
    to: Quantization,
    out: &mut File,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let mut text = String::new();
    parts[0].file.read_to_string(&mut text).map_err(EngineError::Io)?;
    if text == "abort" {
        std::process::abort();
    }
    for done in 1..=4 {
        let _ = progress(done, 4);
    }
    write!(out, "{text} as {to:?}").map_err(EngineError::Io)?;
    out.seek(std::io::SeekFrom::Start(0)).map(drop).map_err(EngineError::Io)
}

struct Test {
    info: ModelInfo,
    places: usize,
    texts: VecDeque<Text>,
    /// The rest of it cannot be loaded.
    broken: bool,
}

struct Text {
    ticket: Ticket,
    words: VecDeque<String>,
    n_words: u32,
    /// Says the same for ever.
    endless: Option<String>,
    cancelled: bool,
}

impl Engine for Test {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn free(&self) -> usize {
        self.places - self.texts.len()
    }

    fn begin(&mut self, ticket: Ticket, request: GenerateRequest) -> Result<(), EngineError> {
        assert!(self.free() > 0, "the parent begins a text for each place and no more");
        let Prompt::Text(prompt) = &request.prompt else {
            return Err(EngineError::Unsupported { reason: "text only".into() });
        };
        let (verb, rest) = prompt.split_once(' ').unwrap_or((prompt, ""));
        let mut words: VecDeque<String> = VecDeque::new();
        let mut endless = None;
        match verb {
            "say" => words.extend(rest.split_inclusive(' ').map(str::to_owned)),
            "endless" => endless = Some("x".repeat(rest.parse().unwrap_or(1))),
            "break" => self.broken = true,
            "refuse" => return Err(EngineError::Request { reason: "refused".into() }),
            _ => words.push_back(misbehave(verb, rest)),
        }
        let text = Text { ticket, words, n_words: 0, endless, cancelled: false };
        self.texts.push_back(text);
        Ok(())
    }

    fn cancel(&mut self, ticket: Ticket) {
        for text in self.texts.iter_mut().filter(|text| text.ticket == ticket) {
            text.cancelled = true;
        }
    }

    fn step(&mut self, outputs: &mut Vec<(Ticket, Output)>) {
        if let Some(failure) = self.failure() {
            // Only one is told: whoever drives this tells the others.
            let text = self.texts.pop_front();
            return outputs.extend(text.map(|text| (text.ticket, Output::Failed(failure))));
        }
        self.texts.retain_mut(|text| {
            let word = text.words.pop_front().or_else(|| text.endless.clone());
            let finish = match word {
                _ if text.cancelled => Finish::Cancelled,
                Some(word) => {
                    text.n_words += 1;
                    let piece = Piece { text: word, tokens: Vec::new() };
                    outputs.push((text.ticket, Output::Piece(piece)));
                    return true;
                }
                None => Finish::Stop,
            };
            let done = Generated {
                finish,
                prompt_tokens: 1,
                cached_tokens: 0,
                generated_tokens: text.n_words,
                prompt_seconds: 0.0,
                generate_seconds: 0.0,
            };
            outputs.push((text.ticket, Output::Done(done)));
            false
        });
    }

    fn embed(&mut self, texts: &[Prompt]) -> Result<Embedded, EngineError> {
        let vectors = texts.iter().map(|text| match text {
            Prompt::Text(text) => Ok(vec![text.len() as f32, f32::NEG_INFINITY]),
            _ => Err(EngineError::Request { reason: "text only".into() }),
        });
        Ok(Embedded { vectors: vectors.collect::<Result<_, _>>()?, tokens: texts.len() as u32 })
    }

    fn failure(&self) -> Option<Failure> {
        let failure =
            Failure { kind: FailureKind::Invalid, message: "a weight is no number".into() };
        self.broken.then_some(failure)
    }
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Tries what a hostile model would; says how it went if it lives to tell.
fn misbehave(verb: &str, rest: &str) -> String {
    let told = |result: std::io::Result<()>| match result {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("{:?} {}", error.kind(), error.raw_os_error().unwrap_or(0)),
    };
    match verb {
        "abort" => std::process::abort(),
        "segv" => wild_write(),
        "panic" => panic!("the secret is {rest}"),
        "spin" => spin(),
        "eat" => {
            // More than it may have in one piece: no allocator can give that.
            let bytes: Vec<u8> = vec![1; rest.parse::<usize>().unwrap() << 20];
            std::hint::black_box(bytes);
            told(Ok(()))
        }
        "hoard" => {
            // Page by page, touched, and kept.
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
                std::hint::black_box(&hoard);
            }
        }
        "open" => told(File::open(rest).map(drop)),
        "create" => told(File::create(rest).map(drop)),
        "stat" => told(std::fs::metadata(rest).map(drop)),
        "list" => told(std::fs::read_dir(rest).map(drop)),
        "socket" => told(std::net::UdpSocket::bind("127.0.0.1:0").map(drop)),
        "connect" => told(std::net::TcpStream::connect("127.0.0.1:1").map(drop)),
        "spawn" => told(std::process::Command::new("/bin/true").status().map(drop)),
        "thread" => told(std::thread::spawn(|| Ok(())).join().unwrap()),
        "env" => std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" "),
        #[cfg(unix)]
        "exec" => told(Err(std::os::unix::process::CommandExt::exec(
            &mut std::process::Command::new("/bin/true"),
        ))),
        #[cfg(target_os = "linux")]
        "ptrace" | "fork" | "kill" | "mprotect" => told(raw(verb)),
        #[cfg(unix)]
        "garbage" => {
            garbage(&[0xff; 64]);
            String::new()
        }
        #[cfg(unix)]
        "nonsense" => {
            // A frame of good length whose body is no message.
            garbage(&[[4, 0, 0, 0].as_slice(), &[0; 8], &[0xc1; 4]].concat());
            String::new()
        }
        _ => format!("what is {verb}?"),
    }
}

#[expect(unsafe_code, reason = "the fault that the test is about")]
fn wild_write() -> ! {
    // SAFETY: it is not; address 8 is never mapped, so that the process ends here.
    unsafe { std::ptr::without_provenance_mut::<u64>(8).write_volatile(1) };
    std::process::abort()
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "std offers none of these calls")]
fn raw(verb: &str) -> std::io::Result<()> {
    // SAFETY: calls with plain numbers, whose failure is what is looked for.
    let answer = unsafe {
        match verb {
            "ptrace" => libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0),
            "fork" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "kill" => libc::kill(libc::getppid(), 0) as libc::c_long,
            _ => {
                let page = libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC).into()
            }
        }
    };
    if answer == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes to whatever is open, the pipe to the parent among it.
#[cfg(unix)]
#[expect(unsafe_code, reason = "a hostile engine does not ask")]
fn garbage(bytes: &[u8]) {
    use std::os::fd::FromRawFd as _;
    for fd in 3..32 {
        // SAFETY: the descriptor is used for one write and given back unclosed.
        let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        let _ = file.write_all(bytes);
    }
}
