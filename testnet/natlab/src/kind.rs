//! Kinds of routers: what each does to a port, as nftables rules, and which pairs can meet.
//!
//! All but [`Kind::None`] translate addresses and filter by address and port: what comes from
//! outside passes only as an answer to the very address and port that was written to.

use std::fmt;
use std::net::Ipv4Addr;

/// What a router does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Routes public addresses; neither translates nor filters.
    None,
    /// One outside port for each inside port, the same number.
    Cone,
    /// One outside port for each inside port, another number.
    Remap,
    /// Another outside port for each destination.
    Symmetric,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Cone, Self::Remap, Self::Symmetric];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cone => "cone",
            Self::Remap => "remap",
            Self::Symmetric => "symmetric",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }

    /// Whether it hides what is behind it.
    pub(crate) fn translates(self) -> bool {
        self != Self::None
    }

    /// Whether a direct path between two of these is possible. One who is public can be dialed by
    /// anybody. Of two who are not, both have to know the port that the other will come from, and
    /// of a symmetric one nobody does.
    pub(crate) fn can_meet(self, other: Self) -> bool {
        let hidden = self.translates() && other.translates();
        !(hidden && [self, other].contains(&Self::Symmetric))
    }

    /// The rules of a router of this kind whose address is `wan`.
    ///
    /// New connections from outside are dropped before they are tracked for good: an entry for
    /// them would take the port that the inside is about to use (measured: 4001 becomes 38984).
    pub(crate) fn rules(self, wan: Ipv4Addr) -> String {
        let translate = match self {
            Self::None => return String::new(),
            Self::Cone => format!("snat to {wan}"),
            Self::Remap => {
                format!("meta l4proto {{ tcp, udp }} snat to {wan}:20000-20999 persistent")
            }
            Self::Symmetric => format!("snat to {wan} fully-random"),
        };
        format!(
            "table ip router {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname \"wan\" ct state new drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname \"wan\" ct state established,related accept
        iifname \"wan\" drop
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat; }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname \"wan\" {translate}
    }}
}}
"
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_of_sixteen_pairs_can_meet() {
        let pairs = Kind::ALL.into_iter().flat_map(|a| Kind::ALL.into_iter().map(move |b| (a, b)));
        assert_eq!(pairs.clone().filter(|(a, b)| a.can_meet(*b)).count(), 11);
        assert!(pairs.clone().all(|(a, b)| a.can_meet(b) == b.can_meet(a)));
        assert!(Kind::Symmetric.can_meet(Kind::None));
        assert!(!Kind::Symmetric.can_meet(Kind::Cone));
    }

    #[test]
    fn every_kind_that_hides_drops_what_nobody_asked_for() {
        let wan = Ipv4Addr::new(5, 10, 0, 1);
        for kind in Kind::ALL {
            let rules = kind.rules(wan);
            assert_eq!(kind.translates(), rules.contains("ct state new drop"), "{kind}");
            assert_eq!(kind.translates(), rules.contains("snat to 5.10.0.1"), "{kind}");
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }
}
