//! One table for two things: the router that answers, and the OpenAPI 3.1 document that says what
//! it answers.
//!
//! A path gets into the router by [`Table::get`] and [`Table::post`] alone, and each of them writes
//! it into the document too; so neither can hold a path that the other lacks. What bodies look like
//! is read from the types that the handlers take and give.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// Makes the schema of a type, when the document is written.
type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What the document says of one path and method.
pub(crate) struct Operation {
    tag: &'static str,
    summary: &'static str,
    query: Option<MakeSchema>,
    body: Option<MakeSchema>,
    answers: Vec<(&'static str, Option<MakeSchema>)>,
    is_open: bool,
}

impl Operation {
    /// An operation that answers `200`.
    pub(crate) fn new(tag: &'static str, summary: &'static str) -> Self {
        Self { tag, summary, query: None, body: None, answers: Vec::new(), is_open: false }
    }

    /// Takes the fields of `T` as query parameters.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self
    }

    /// Takes a `T` as JSON.
    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Answers with a `T` as JSON.
    pub(crate) fn json<T: JsonSchema>(self) -> Self {
        self.answers::<T>("application/json")
    }

    /// Answers with a `T`, or one after another of them, in some media type.
    pub(crate) fn answers<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.answers.push((media, Some(SchemaGenerator::subschema_for::<T>)));
        self
    }

    /// Answers with bytes of some media type.
    pub(crate) fn bytes(mut self, media: &'static str) -> Self {
        self.answers.push((media, None));
        self
    }

    /// Needs no token.
    pub(crate) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }
}

/// The document, as it is served.
#[derive(Debug, Clone)]
pub(crate) struct Document(pub(crate) Arc<Value>);

/// The router and the document while they grow.
pub(crate) struct Table<S> {
    router: Router<S>,
    paths: Map<String, Value>,
    generator: SchemaGenerator,
}

impl<S: Clone + Send + Sync + 'static> Table<S> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { router: Router::new(), paths: Map::new(), generator: settings.into_generator() }
    }

    /// Something that reads. `HEAD` is answered alike, without the body.
    pub(crate) fn get<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(path, "get", MethodFilter::GET, handler, operation)
    }

    /// Something that changes or computes.
    pub(crate) fn post<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(path, "post", MethodFilter::POST, handler, operation)
    }

    fn add<H, T>(
        mut self,
        path: &str,
        method: &str,
        filter: MethodFilter,
        handler: H,
        operation: Operation,
    ) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        // A wildcard is a parameter that may hold `/`.
        let path = path.replace("{*", "{");
        let written = self.describe(&path, method, operation);
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = written;
        self
    }

    fn describe(&mut self, path: &str, method: &str, operation: Operation) -> Value {
        let mut parameters: Vec<Value> = path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}'))
            .map(|(name, _)| {
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        if let Some(query) = operation.query {
            parameters.extend(query_parameters(&query(&mut self.generator)));
        }
        let mut content = Map::new();
        for (media, schema) in operation.answers {
            let said = match schema {
                Some(schema) => json!({"schema": schema(&mut self.generator)}),
                None => json!({}),
            };
            content.insert(media.to_owned(), said);
        }
        let mut written = json!({
            "tags": [operation.tag],
            "summary": operation.summary,
            "operationId": operation_id(method, path),
            "responses": {
                "200": {"description": "Done.", "content": content},
                "default": {"$ref": "#/components/responses/Error"},
            },
        });
        if !parameters.is_empty() {
            written["parameters"] = parameters.into();
        }
        if let Some(body) = operation.body {
            let schema = body(&mut self.generator);
            written["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        if operation.is_open {
            written["security"] = json!([]);
        }
        written
    }

    /// Ends the table. `E` is what errors look like.
    pub(crate) fn finish<E: JsonSchema>(mut self) -> (Router<S>, Document) {
        let error = self.generator.subschema_for::<E>();
        let schemas = self.generator.take_definitions(true);
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "hive",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "The local API of a hive node: models of a swarm, run here. \
                    Requests carry the token that `api.token` in the home holds.",
                "license": {"name": "MIT OR Apache-2.0"},
            },
            "servers": [{"url": "http://127.0.0.1:4484"}],
            "security": [{"token": []}],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": {
                    "Error": {
                        "description": "It failed: the status says how, the body why.",
                        "content": {"application/json": {"schema": error}},
                    },
                },
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        });
        (self.router, Document(Arc::new(document)))
    }
}

/// The properties of an object's schema, as parameters.
fn query_parameters(schema: &Schema) -> Vec<Value> {
    let is_required = |name: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|needed| needed == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let described = properties.into_iter().flatten().map(|(name, schema)| {
        json!({"name": name, "in": "query", "required": is_required(name), "schema": schema})
    });
    described.collect()
}

/// `get` and `/v1/models/{id}` are `getV1ModelsId`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |mut id, word| {
        id.push_str(&word[..1].to_ascii_uppercase());
        id.push_str(&word[1..]);
        id
    })
}
