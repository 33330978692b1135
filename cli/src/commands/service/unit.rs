//! The files that services are described in. Pure: a program and a home in, a text out.

/// The agent's name in launchd.
pub(super) const LABEL: &str = "local.hive.node";
/// The agent's file in `~/Library/LaunchAgents`.
pub(super) const PLIST: &str = "local.hive.node.plist";
/// The task's name in the Task Scheduler.
pub(super) const TASK: &str = "hive";

/// Who starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum System {
    /// Linux: a user unit
    Systemd,
    /// macOS: an agent
    Launchd,
    /// Windows: a task at logon
    Windows,
}

impl System {
    /// The one of this machine.
    pub(super) const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::Launchd
    } else {
        Self::Systemd
    };

    /// The file for a program and a home, both without control characters, and a command of ours.
    pub(super) fn describe(self, program: &str, home: &str, command: &str) -> String {
        match self {
            Self::Systemd => systemd(program, home, command),
            Self::Launchd => launchd(program, home, command),
            Self::Windows => windows(program, home, command),
        }
    }
}

fn systemd(program: &str, home: &str, command: &str) -> String {
    let (program, home) = (of_systemd(program), of_systemd(home));
    format!(
        "\
# Written by `hive service install`, which writes it anew.
[Unit]
Description=hive node

[Service]
Type=exec
ExecStart={program} --home {home} {command}
Restart=on-failure
RestartSec=5
# The node keeps what it has verified; give it time to sync the rest.
KillSignal=SIGTERM
TimeoutStopSec=20
UMask=0077
# What a node never needs. Its models' processes lock themselves in further (Landlock, seccomp),
# which needs NoNewPrivileges and none of what is forbidden here. The user's files stay in one mount:
# `hive add` shares bytes with the original by hard link, which no link across mounts can.
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectControlGroups=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"
    )
}

/// A word of a command line as systemd reads it: in quotes, specifiers and variables made plain.
fn of_systemd(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', r#"\""#);
    format!("\"{}\"", escaped.replace('%', "%%").replace('$', "$$"))
}

fn launchd(program: &str, home: &str, command: &str) -> String {
    let (program, home) = (of_xml(program), of_xml(home));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `hive service install`, which writes it anew. -->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{LABEL}</string>
    <key>ProgramArguments</key>
    <array>
        <string>{program}</string>
        <string>--home</string>
        <string>{home}</string>
        <string>{command}</string>
    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>ProcessType</key>
    <string>Background</string>
    <key>ExitTimeOut</key>
    <integer>20</integer>
    <key>Umask</key>
    <integer>63</integer>
    <key>StandardErrorPath</key>
    <string>{home}/service.log</string>
</dict>
</plist>
"#
    )
}

fn windows(program: &str, home: &str, command: &str) -> String {
    // A path ends in no quote, and a backslash before the closing quote would escape it.
    let home = home.trim_end_matches('\\');
    let (program, home) = (of_xml(program), of_xml(home));
    format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<!-- Written by `hive service install`, which writes it anew. -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>hive node</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>10</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>--home &quot;{home}&quot; {command}</Arguments>
    </Exec>
  </Actions>
</Task>
"#
    )
}

fn of_xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn the_files_are_what_they_were() {
        for (system, expected) in [
            (System::Systemd, expect_file!["golden/hive.service"]),
            (System::Launchd, expect_file!["golden/local.hive.node.plist"]),
            (System::Windows, expect_file!["golden/hive.xml"]),
        ] {
            let (program, home) = match system {
                System::Windows => (r"C:\Program Files\hive\hive.exe", r"C:\Users\bee\hive\"),
                _ => ("/opt/hive & co/hive", "/home/bee/50% \"hive\""),
            };
            expected.assert_eq(&system.describe(program, home, "join"));
            let relay = system.describe(program, home, "relay");
            assert_eq!(relay.matches("relay").count(), 1, "{relay}");
        }
    }

    #[test]
    fn a_path_stays_one_word_whatever_is_in_it() {
        assert_eq!(of_systemd(r#"/a "b" $HOME %h \c"#), r#""/a \"b\" $$HOME %%h \\c""#);
        assert_eq!(of_xml("<a> & \"b\""), "&lt;a&gt; &amp; &quot;b&quot;");
    }
}
