//! Chats at a real terminal: `script` of util-linux makes one, the node behind it is a fake.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use hive_api::Role;

use crate::User;
use crate::fake::{BASE, ENDLESS, TOO_LONG};

/// How long to wait for what has to come.
const PATIENCE: Duration = Duration::from_mins(1);
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// A program at a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet looked at.
    seen: String,
}

impl Terminal {
    fn open(user: &User, args: &[&str]) -> Self {
        // A shell in between would take Ctrl-C for itself, too, and end with its code.
        let quoted: Vec<_> = args.iter().map(|arg| format!("'{arg}'")).collect();
        Self::open_program(
            user,
            &format!("exec '{}' {}", env!("CARGO_BIN_EXE_hive"), quoted.join(" ")),
        )
    }

    fn open_program(user: &User, line: &str) -> Self {
        let like = user.command(&[]);
        let mut command = Command::new("script");
        command.args(["-qefc", line, "/dev/null"]).env_clear().current_dir(user.dir.path());
        for (name, value) in like.get_envs() {
            command.env(name, value.unwrap());
        }
        command.env("TERM", "xterm").env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`script` (util-linux) makes the terminal");
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (shown, screen) = sync_channel(1024);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                if shown.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, screen, seen: String::new() }
    }

    /// Waits until a text is shown.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let Ok(more) = self.screen.recv_timeout(PATIENCE) else {
                panic!("no `{text}` in {:?}", self.seen);
            };
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Says a line and waits for what follows.
    #[track_caller]
    fn say(&mut self, line: &str, expected: &str) {
        self.expect(">>> ");
        self.press(&format!("{line}\r"));
        self.expect(expected);
    }

    /// Ends the chat as a shell is ended.
    #[track_caller]
    fn leave(mut self) {
        self.expect(">>> ");
        self.press(CTRL_D);
        self.ends(0);
    }

    #[track_caller]
    fn ends(mut self, code: i32) {
        drop(self.keys);
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{:?}", self.seen);
    }
}

/// The process called `hive` among a process's descendants.
fn hive_below(pid: u32) -> rustix::process::Pid {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut found = children.split_whitespace().map(|child| child.parse::<u32>().unwrap());
    let child = found.next().unwrap();
    let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
    if name.trim() == "hive" {
        rustix::process::Pid::from_raw(child as i32).unwrap()
    } else {
        hive_below(child)
    }
}

#[test]
fn a_chat_keeps_what_was_said_and_forgets_when_told() {
    let user = User::new();
    let served = user.fake();
    let mut terminal = Terminal::open(&user, &["run", "bee", "--system", "You are a bee."]);
    terminal.expect("/help lists what can be done");
    terminal.say("hello", "[2] you said HELLO");
    terminal.say("and now?", "[4] you said AND NOW?");
    terminal.say("/regen", "[4] you said AND NOW?");
    terminal.say("/forget", "dropped 2 messages, 2 are left");
    terminal.say("/set temperature 0.25", "temperature is 0.25");
    terminal.say("/reset", "begun anew");
    terminal.say("again", "[2] you said AGAIN");
    terminal.say("/quit", "");
    terminal.ends(0);

    let chats = served.fake.chats();
    let roles: Vec<_> = chats[1].iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
    assert_eq!(chats[1][2].content, "[2] you said HELLO");
    assert!((served.fake.last().sampling.temperature - 0.25).abs() < 1e-6);
    assert_eq!(served.fake.last().max_tokens, None, "a model that was taught to ends its answers");
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let user = User::new();
    let served = user.fake();
    let mut terminal = Terminal::open(&user, &["run", "bee"]);
    terminal.say(ENDLESS, "you said GO ON FOR EVER");
    terminal.press(CTRL_C);
    terminal.expect("stopped");
    terminal.say("still there?", "[3] you said STILL THERE?");
    terminal.expect(">>> ");
    terminal.press(CTRL_C);
    terminal.expect("Ctrl-C again ends the chat");
    terminal.expect(">>> ");
    terminal.press(CTRL_C);
    terminal.ends(0);
    let last = served.fake.chats().pop().unwrap();
    assert_eq!(last[1].content, "[1] you said GO ON FOR EVER", "what was said stays");
}

#[test]
fn a_full_context_is_told_and_nothing_is_dropped() {
    let user = User::new();
    let served = user.fake();
    let mut terminal = Terminal::open(&user, &["run", "bee"]);
    terminal.say("hello", "you said HELLO");
    terminal.expect("the chat takes 90 of 100 tokens");
    terminal.say(TOO_LONG, "context holds 100");
    terminal.expect("/forget drops the oldest exchange");
    terminal.expect("the message is taken back");
    terminal.say("short", "[3] you said SHORT");
    terminal.leave();
    assert_eq!(served.fake.chats().len(), 3);
}

#[test]
fn an_answer_that_cannot_be_made_again_stays() {
    let user = User::new();
    let served = user.fake();
    let said = format!(
        r#"[{{"role":"user","content":"{TOO_LONG}"}},{{"role":"assistant","content":"x"}}]"#
    );
    user.file("chat.json", said.as_bytes());
    let mut terminal = Terminal::open(&user, &["run", "bee"]);
    terminal.say("/load chat.json", "loaded 2 messages");
    terminal.say("/regen", "context holds 100");
    terminal.expect("the answer before it stays");
    terminal.say("short", "[3] you said SHORT");
    terminal.leave();
    assert_eq!(served.fake.chats().pop().unwrap()[1].content, "x");
}

#[test]
fn a_chat_is_saved_loaded_and_said_in_several_lines() {
    let user = User::new();
    let served = user.fake();
    let mut terminal = Terminal::open(&user, &["run", "bee"]);
    terminal.say("\"\"\"one", "... ");
    terminal.press("two\"\"\"\r");
    terminal.expect("[1] you said ONE");
    terminal.say("/save chat.json", "saved to `chat.json`");
    terminal.say("/save chat.json", "nothing is overwritten");
    terminal.say("/save chat.md", "saved to `chat.md`");
    terminal.say("/reset", "begun anew");
    terminal.say("/load chat.json", "loaded 2 messages");
    terminal.say("go on", "[3] you said GO ON");
    terminal.say("/sing", "there is no /sing");
    terminal.say("/stats", "60 remembered");
    terminal.leave();
    assert_eq!(served.fake.chats()[1][0].content, "one\ntwo");

    use std::os::unix::fs::PermissionsExt as _;
    let history = user.home().join("chat_history");
    let mode = std::fs::metadata(&history).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what people tell a model is their own");
    assert!(std::fs::read_to_string(history).unwrap().contains("go on"));
}

#[test]
fn history_that_is_off_leaves_no_trace() {
    let user = User::new();
    let _served = user.fake();
    user.run(&["config", "set", "chat-history", "off"]).ok();
    let mut terminal = Terminal::open(&user, &["run", "bee"]);
    terminal.say("a secret", "you said A SECRET");
    terminal.leave();
    assert!(!user.home().join("chat_history").exists());
}

#[test]
fn a_base_model_is_called_one_and_its_answers_have_an_end() {
    let user = User::new();
    let served = user.fake();
    let mut terminal = Terminal::open(&user, &["run", BASE]);
    terminal.expect("most likely is a base model");
    terminal.say("hello", "you said HELLO");
    terminal.leave();
    assert_eq!(served.fake.last().max_tokens, Some(256));
}

/// `SIGTERM` at the prompt ends the program, and the terminal shows again what is typed.
#[test]
fn the_end_of_the_program_gives_the_terminal_back() {
    let user = User::new();
    let _served = user.fake();
    let hive = env!("CARGO_BIN_EXE_hive");
    let lines = format!(
        "before=$(stty -g)\n'{hive}' run bee\n[ \"$before\" = \"$(stty -g)\" ] && echo same mode\n"
    );
    let script = user.file("chat.sh", lines.as_bytes());
    let mut terminal = Terminal::open_program(&user, &format!("sh {script}"));
    terminal.expect(">>> ");
    let pid = hive_below(terminal.child.id());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    terminal.expect("same mode");
    terminal.ends(0);
}
