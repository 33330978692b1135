//! Finds the chat templates of a model: in its file, or beside it.

use hive_api::{EngineError, TemplateSource};
use serde_json::Value as Json;

use super::marker::Specials;
use super::template::Template;
use super::{Builtin, builtin};
use crate::error::invalid;

/// The templates of a model.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    usual: Template,
    /// For chats with tools, where the model has one of its own for them.
    with_tools: Option<Template>,
    /// Texts that end an answer, beside the tokens that do.
    stops: &'static [&'static str],
}

impl Templates {
    /// Finds them. `file` holds the values of a GGUF header that begin with
    /// `tokenizer.chat_template`; `beside` the names and texts of the files `chat_template.jinja`,
    /// `chat_template.json` and `tokenizer_config.json` (others are ignored). A model with none gets
    /// what its architecture was tuned with, or plain names before turns.
    ///
    /// # Errors
    ///
    /// A template cannot be read. The model can still continue text.
    pub(crate) fn find(
        architecture: &str,
        file: &[(&str, &str)],
        beside: &[(&str, &str)],
        specials: &Specials,
    ) -> Result<Self, EngineError> {
        let named = file.iter().filter_map(|(key, source)| {
            let name = key.strip_prefix("tokenizer.chat_template")?;
            Some((name.strip_prefix('.').unwrap_or("default").to_owned(), (*source).to_owned()))
        });
        let named: Vec<(String, String)> = named.collect();
        if let Some(found) = Self::choose(&named, TemplateSource::File)? {
            return Ok(found);
        }
        // The newest form first: a model that has it keeps the older ones for old programs.
        for name in ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"] {
            let Some((_, text)) = beside.iter().find(|(beside, _)| *beside == name) else {
                continue;
            };
            let named = if name == "chat_template.jinja" {
                vec![("default".to_owned(), (*text).to_owned())]
            } else {
                in_json(name, text)?
            };
            if let Some(found) = Self::choose(&named, TemplateSource::Sidecar)? {
                return Ok(found);
            }
        }
        let Builtin { source, stops } = builtin(architecture, |text| specials.has(text));
        let usual = Template::parse(source, TemplateSource::Architecture)?;
        Ok(Self { usual, with_tools: None, stops })
    }

    fn choose(
        named: &[(String, String)],
        from: TemplateSource,
    ) -> Result<Option<Self>, EngineError> {
        let find = |wanted: &str| named.iter().find(|(name, _)| name == wanted);
        let Some((_, usual)) = find("default").or_else(|| named.first()) else {
            return Ok(None);
        };
        let with_tools = find("tool_use").map(|(_, source)| Template::parse(source, from));
        let usual = Template::parse(usual, from)?;
        Ok(Some(Self { usual, with_tools: with_tools.transpose()?, stops: &[] }))
    }

    /// The template for a chat with or without tools.
    pub(crate) fn of(&self, tools: bool) -> &Template {
        self.with_tools.as_ref().filter(|_| tools).unwrap_or(&self.usual)
    }

    /// Where they come from.
    pub(crate) fn from(&self) -> TemplateSource {
        self.usual.from()
    }

    /// Texts that end an answer, beside the tokens that do.
    pub(crate) fn stops(&self) -> &'static [&'static str] {
        self.stops
    }
}

/// The templates in a file of JSON: one, or a list of named ones.
fn in_json(name: &str, text: &str) -> Result<Vec<(String, String)>, EngineError> {
    let json: Json =
        serde_json::from_str(text).map_err(|error| invalid(format!("`{name}`: {error}")))?;
    Ok(match json.get("chat_template") {
        Some(Json::String(source)) => vec![("default".to_owned(), source.clone())],
        Some(Json::Array(items)) => items
            .iter()
            .filter_map(|item| {
                let text = |key| item.get(key)?.as_str().map(str::to_owned);
                Some((text("name")?, text("template")?))
            })
            .collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &[(&str, &str)], beside: &[(&str, &str)]) -> Templates {
        Templates::find("llama", file, beside, &Specials::default()).unwrap()
    }

    #[test]
    fn the_template_in_the_file_comes_first() {
        let file = [
            ("tokenizer.chat_template", "file"),
            ("tokenizer.chat_template.tool_use", "tools of the file"),
        ];
        let templates = found(&file, &[("chat_template.jinja", "beside")]);
        assert_eq!(templates.of(false).source(), "file");
        assert_eq!(templates.of(true).source(), "tools of the file");
        assert_eq!(templates.from(), TemplateSource::File);
    }

    #[test]
    fn files_beside_it_are_read_in_every_form() {
        for (name, text) in [
            ("chat_template.jinja", "beside"),
            ("chat_template.json", r#"{"chat_template": "beside"}"#),
            ("tokenizer_config.json", r#"{"bos_token": "x", "chat_template": "beside"}"#),
        ] {
            let templates = found(&[], &[("README.md", "no"), (name, text)]);
            assert_eq!(templates.of(true).source(), "beside", "{name}");
            assert_eq!(templates.from(), TemplateSource::Sidecar);
        }
        let list = r#"{"chat_template": [{"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "usual"}, {"broken": 1}]}"#;
        let templates = found(&[], &[("tokenizer_config.json", list)]);
        assert_eq!(templates.of(false).source(), "usual");
        assert_eq!(templates.of(true).source(), "tools");
    }

    #[test]
    fn without_a_template_the_architecture_decides() {
        let config = ("tokenizer_config.json", r#"{"chat_template": null}"#);
        let templates = found(&[], &[config]);
        assert_eq!(templates.from(), TemplateSource::Architecture);
        assert_eq!(templates.stops(), ["\nUser:"]);
        let broken =
            Templates::find("llama", &[], &[("chat_template.json", "{")], &Specials::default());
        assert!(broken.unwrap_err().to_string().contains("chat_template.json"));
    }
}
