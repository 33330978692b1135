//! From the text of a topology to its types, with the line in every error.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use anyhow::{anyhow, bail};
use toml_edit::{Document, Item, Table, TableLike};

use super::{Host, Laptop, Router, Subnet, Topology};
use crate::kind::Kind;
use crate::link::Shape;

/// Names end up in names of devices, which have 15 letters, two of them ours.
const NAME: usize = 13;

pub(super) fn read(text: &str) -> anyhow::Result<Topology> {
    // The parser's error shows the line itself.
    let document = Document::parse(text).map_err(|error| anyhow!("{error}"))?;
    let root = document.as_table();
    let whole = Fields { text, table: root, what: "the file", at: 0..0 };
    whole.only(&["seed", "links", "hosts", "routers", "laptops"])?;
    let links = links(text, root)?;
    let mut topology = Topology {
        seed: whole.number("seed", 0, i64::MAX)? as u64,
        hosts: Vec::new(),
        routers: Vec::new(),
        laptops: Vec::new(),
    };
    for fields in tables(text, root, "hosts")? {
        fields.only(&["name", "address", "link"])?;
        topology.hosts.push(Host {
            name: fields.name()?,
            address: fields.address("address")?,
            shape: fields.link(&links)?,
        });
        fields.unique(&topology)?;
    }
    for fields in tables(text, root, "routers")? {
        fields.only(&["name", "kind", "wan", "lan", "public", "link"])?;
        let kind = fields.text("kind")?;
        let Some(kind) = Kind::parse(kind) else {
            return fields.wrong("kind", &format!("`{kind}`: none, cone, remap or symmetric"));
        };
        topology.routers.push(Router {
            name: fields.name()?,
            kind,
            wan: fields.address("wan")?,
            lan: fields.subnet("lan")?,
            public: fields.subnet("public")?,
            shape: fields.link(&links)?,
        });
        fields.unique(&topology)?;
    }
    for fields in tables(text, root, "laptops")? {
        fields.only(&["name", "behind", "number"])?;
        let behind = fields.text("behind")?;
        if topology.router(behind).is_err() {
            return fields.wrong("behind", &format!("there is no router `{behind}`"));
        }
        // 1 is the router.
        let number = fields.number("number", 2, 254)? as u8;
        let mut others = topology.laptops.iter();
        if others.any(|other| other.behind == behind && other.number == number) {
            return fields.wrong("number", &format!("{number} is taken behind {behind}"));
        }
        topology.laptops.push(Laptop { name: fields.name()?, behind: behind.to_owned(), number });
        fields.unique(&topology)?;
    }
    Ok(topology)
}

fn links(text: &str, root: &Table) -> anyhow::Result<BTreeMap<String, Shape>> {
    let mut links = BTreeMap::new();
    let Some(item) = root.get("links") else { return Ok(links) };
    let Some(table) = item.as_table_like() else {
        bail!("line {}: links: a table for each, as in [links.dsl]", line(text, item.span()));
    };
    for (name, item) in table.iter() {
        let fields = Fields::of(text, item, "a link")?;
        fields.only(&Shape::KEYS)?;
        let mut shape = Shape::default();
        for (key, item) in fields.table.iter() {
            let value = item.as_float().or_else(|| item.as_integer().map(|n| n as f64));
            let set = value.map(|value| shape.set(key, value));
            match set {
                Some(Ok(())) => {}
                Some(Err(error)) => bail!("line {}: {error}", line(text, item.span())),
                None => bail!("line {}: {key}: a number", line(text, item.span())),
            }
        }
        links.insert(name.to_owned(), shape);
    }
    Ok(links)
}

fn tables<'a>(
    text: &'a str,
    root: &'a Table,
    key: &'static str,
) -> anyhow::Result<Vec<Fields<'a>>> {
    let Some(item) = root.get(key) else { return Ok(Vec::new()) };
    let Some(tables) = item.as_array_of_tables() else {
        bail!("line {}: {key}: tables, as in [[{key}]]", line(text, item.span()));
    };
    let fields = tables.iter().map(|table| Fields {
        text,
        table,
        what: key,
        at: table.span().unwrap_or_default(),
    });
    Ok(fields.collect())
}

fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or("");
    before.matches('\n').count() + 1
}

/// One table of the file.
struct Fields<'a> {
    text: &'a str,
    table: &'a dyn TableLike,
    what: &'static str,
    at: Range<usize>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str, item: &'a Item, what: &'static str) -> anyhow::Result<Self> {
        let at = item.span().unwrap_or_default();
        match item.as_table_like() {
            Some(table) => Ok(Self { text, table, what, at }),
            None => bail!("line {}: {what} is a table", line(text, Some(at))),
        }
    }

    fn only(&self, known: &[&str]) -> anyhow::Result<()> {
        match self.table.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => self
                .wrong(key, &format!("unknown in {}; there are {}", self.what, known.join(", "))),
            None => Ok(()),
        }
    }

    fn wrong<T>(&self, key: &str, reason: &str) -> anyhow::Result<T> {
        let span = self.table.get(key).and_then(Item::span).unwrap_or_else(|| self.at.clone());
        bail!("line {}: {key}: {reason}", line(self.text, Some(span)))
    }

    fn get(&self, key: &str) -> anyhow::Result<&'a Item> {
        match self.table.get(key) {
            Some(item) => Ok(item),
            None => self.wrong(key, "missing"),
        }
    }

    fn text(&self, key: &str) -> anyhow::Result<&'a str> {
        match self.get(key)?.as_str() {
            Some(text) => Ok(text),
            None => self.wrong(key, "a text in quotes"),
        }
    }

    fn number(&self, key: &str, least: i64, most: i64) -> anyhow::Result<i64> {
        match self.get(key)?.as_integer().filter(|n| (least..=most).contains(n)) {
            Some(number) => Ok(number),
            None => self.wrong(key, &format!("a whole number, {least} to {most}")),
        }
    }

    fn name(&self) -> anyhow::Result<String> {
        let name = self.text("name")?;
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME || !name.chars().all(letters) || name == "internet"
        {
            let rule = format!("`{name}`: 1 to {NAME} of a-z, 0-9 and -, and not `internet`");
            return self.wrong("name", &rule);
        }
        Ok(name.to_owned())
    }

    fn unique(&self, topology: &Topology) -> anyhow::Result<()> {
        match topology.names().into_iter().find(|(_, n)| *n > 1) {
            Some((name, _)) => self.wrong("name", &format!("`{name}` is there twice")),
            None => Ok(()),
        }
    }

    fn address(&self, key: &str) -> anyhow::Result<Ipv4Addr> {
        let text = self.text(key)?;
        match text.parse() {
            Ok(address) => Ok(address),
            Err(_) => self.wrong(key, &format!("`{text}` is no IPv4 address")),
        }
    }

    fn subnet(&self, key: &str) -> anyhow::Result<Subnet> {
        let text = self.text(key)?;
        match Subnet::parse(text) {
            Some(subnet) => Ok(subnet),
            None => self.wrong(key, &format!("`{text}` is no /24, as in 192.168.1.0/24")),
        }
    }

    fn link(&self, links: &BTreeMap<String, Shape>) -> anyhow::Result<Option<Shape>> {
        if !self.table.contains_key("link") {
            return Ok(None);
        }
        let name = self.text("link")?;
        match links.get(name) {
            Some(shape) => Ok(Some(*shape)),
            None => self.wrong("link", &format!("there is no [links.{name}]")),
        }
    }
}
