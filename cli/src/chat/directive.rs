//! What stands after a slash in a chat.

/// Something to do that is not said to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directive {
    Help,
    /// Who the model is to be; `None` takes it away.
    System(Option<String>),
    Reset,
    /// Drop the oldest exchanges.
    Forget(usize),
    Save(String),
    Load(String),
    Stats,
    /// A name and a value; `None` shows all.
    Set(Option<(String, String)>),
    Regen,
    Quit,
}

/// What `/help` shows.
pub(crate) const HELP: &str = "\
/help                 this list
/system [TEXT]        who the model is to be; without a text, nobody in particular
/set [NAME VALUE]     a sampling value or max_tokens; without a name, all of them
/regen                answer the last message again
/forget [N]           drop the N oldest exchanges (1)
/reset                begin anew; the system message stays
/save FILE            write the chat: messages to .json, text to .md
/load FILE            go on with a chat that was saved as .json
/stats                what the last answer took
/quit                 end; so do Ctrl-D and Ctrl-C twice

\"\"\" begins and ends a message of several lines. Two slashes begin a message that begins with one.
Ctrl-C stops an answer; what was said so far stays.";

/// A line, told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// To be said to the model.
    Message(String),
    /// To be done.
    Directive(Directive),
    /// Neither; the reason.
    Wrong(String),
}

/// Tells what a line is.
pub(crate) fn parse(line: &str) -> Entry {
    let Some(rest) = line.strip_prefix('/') else { return Entry::Message(line.to_owned()) };
    if rest.starts_with('/') {
        return Entry::Message(rest.to_owned());
    }
    let (verb, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let file = |make: fn(String) -> Directive| {
        if rest.is_empty() {
            Entry::Wrong(format!("/{verb} needs the name of a file"))
        } else {
            Entry::Directive(make(rest.to_owned()))
        }
    };
    Entry::Directive(match verb {
        "help" | "?" => Directive::Help,
        "system" => Directive::System((!rest.is_empty()).then(|| rest.to_owned())),
        "reset" | "clear" => Directive::Reset,
        "forget" if rest.is_empty() => Directive::Forget(1),
        "forget" => match rest.parse() {
            Ok(n) if n > 0 => Directive::Forget(n),
            _ => return Entry::Wrong(format!("`{rest}` is no number of exchanges")),
        },
        "save" => return file(Directive::Save),
        "load" => return file(Directive::Load),
        "stats" => Directive::Stats,
        "set" if rest.is_empty() => Directive::Set(None),
        "set" => match rest.split_once(char::is_whitespace) {
            Some((name, value)) => Directive::Set(Some((name.to_owned(), value.trim().to_owned()))),
            None => return Entry::Wrong(format!("/set {rest} needs a value")),
        },
        "regen" => Directive::Regen,
        "quit" | "exit" | "bye" => Directive::Quit,
        _ => return Entry::Wrong(format!("there is no /{verb}; /help lists what there is")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_of_the_help_is_read() {
        for line in HELP.lines().filter(|line| line.starts_with('/')) {
            let verb = line.split(' ').next().unwrap();
            let with_value = format!("{verb} x.json 1");
            let read = [parse(verb), parse(&with_value)];
            assert!(read.iter().any(|entry| matches!(entry, Entry::Directive(_))), "{verb}");
        }
    }

    #[test]
    fn messages_directives_and_mistakes_are_told_apart() {
        assert_eq!(parse("hello /help"), Entry::Message("hello /help".into()));
        assert_eq!(parse("//etc is a directory"), Entry::Message("/etc is a directory".into()));
        let set = Directive::Set(Some(("temperature".into(), "0.2".into())));
        assert_eq!(parse("/set temperature 0.2"), Entry::Directive(set));
        assert_eq!(parse("/system"), Entry::Directive(Directive::System(None)));
        for wrong in ["/sing", "/save", "/set seed", "/forget none", "/forget 0", "/"] {
            assert!(matches!(parse(wrong), Entry::Wrong(_)), "{wrong}");
        }
    }
}
