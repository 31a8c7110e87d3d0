//! Expressions: how a task's input is built from the workflow's input and earlier results.
//!
//! The language is Jinja's, by minijinja. Evaluation is part of applying a command, so it must give
//! the same on every replica and end soon: the environment knows no clock, no random numbers and
//! no other templates, maps are ordered, and fuel bounds steps and memory alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use crate::limits;

/// For text around expressions: what is not there must not vanish from the middle of a sentence.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::SemiStrict));

/// For bare expressions: what is not there is null, and false.
static BARE: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::Lenient));

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(limits::EXPRESSION_FUEL));
    environment.set_undefined_behavior(undefined);
    environment.set_recursion_limit(50);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::String | ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
        // What is not text is written as JSON.
        _ => {
            let text = to_json(value).map_err(|detail| Error::new(ErrorKind::BadSerialization, detail))?;
            out.write_str(&String::from_utf8_lossy(&text)).map_err(Error::from)
        }
    });
    environment
}

/// What expressions can see.
#[derive(Clone, Debug, Default)]
pub struct Scope(BTreeMap<String, Value>);

impl Scope {
    /// Makes a variable known, from JSON text. Damaged text counts as null.
    pub fn set(&mut self, name: &str, json: &[u8]) {
        self.0.insert(name.to_owned(), from_json(json));
    }

    /// Makes the results of tasks known, as `tasks.ID.result`; none of a task that has none.
    pub fn set_results<'a>(&mut self, results: impl IntoIterator<Item = (&'a str, Option<Bytes>)>) {
        let task = |result: Option<Bytes>| {
            let result = result.map_or_else(|| Value::from(()), |json| from_json(&json));
            Value::from(BTreeMap::from([("result".to_owned(), result)]))
        };
        let tasks: BTreeMap<_, _> = results.into_iter().map(|(id, result)| (id.to_owned(), task(result))).collect();
        self.0.insert("tasks".into(), Value::from(tasks));
    }

    /// Makes a number known.
    pub fn set_number(&mut self, name: &str, number: u64) {
        self.0.insert(name.to_owned(), Value::from(number));
    }

    fn value(&self) -> Value {
        Value::from(self.0.clone())
    }
}

/// What an expression looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Tasks whose results it names.
    pub tasks: BTreeSet<String>,
    /// It names `tasks` as a whole.
    pub all_tasks: bool,
    /// Other variables.
    pub variables: BTreeSet<String>,
}

impl References {
    /// Whether it looks at tasks at all.
    pub fn any_task(&self) -> bool {
        self.all_tasks || !self.tasks.is_empty()
    }

    /// Takes over what others look at.
    pub fn merge(&mut self, others: Self) {
        self.tasks.extend(others.tasks);
        self.variables.extend(others.variables);
        self.all_tasks |= others.all_tasks;
    }

    fn add(&mut self, path: &str) {
        let mut parts = path.split('.');
        match (parts.next(), parts.next()) {
            (Some("tasks"), Some(id)) => drop(self.tasks.insert(id.to_owned())),
            (Some("tasks"), None) => self.all_tasks = true,
            // `namespace`, `range` and their like are functions.
            (Some(name), _) if ENVIRONMENT.globals().all(|(global, _)| global != name) => {
                self.variables.insert(name.to_owned());
            }
            _ => {}
        }
    }
}

/// What a bare expression (`when`, `foreach`) looks at; or what is wrong with it.
pub fn references(expression: &str) -> Result<References, String> {
    let compiled = BARE.compile_expression_owned(expression.to_owned()).map_err(|error| say(&error))?;
    let mut references = References::default();
    compiled.undeclared_variables(true).iter().for_each(|path| references.add(path));
    Ok(references)
}

/// What a string of an input looks at; none if it holds no expression.
pub fn references_of_text(text: &str) -> Result<Option<References>, String> {
    if !is_template(text) {
        return Ok(None);
    }
    if let Some(expression) = single(text)
        && let Ok(references) = references(expression)
    {
        return Ok(Some(references));
    }
    let template = ENVIRONMENT.template_from_named_str("input", text).map_err(|error| say(&error))?;
    let mut references = References::default();
    template.undeclared_variables(true).iter().for_each(|path| references.add(path));
    Ok(Some(references))
}

/// What all strings of an input look at.
pub fn references_of_json(json: &[u8]) -> Result<References, String> {
    fn visit(value: &Json, references: &mut References) -> Result<(), String> {
        match value {
            Json::String(text) => {
                references.merge(references_of_text(text)?.unwrap_or_default());
                Ok(())
            }
            Json::Array(items) => items.iter().try_for_each(|item| visit(item, references)),
            Json::Object(members) => members.values().try_for_each(|member| visit(member, references)),
            _ => Ok(()),
        }
    }
    let mut references = References::default();
    if is_dynamic(json) {
        let value: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        visit(&value, &mut references)?;
    }
    Ok(references)
}

/// Whether JSON text has strings that may be expressions.
pub fn is_dynamic(json: &[u8]) -> bool {
    json.windows(2).any(|pair| pair == b"{{" || pair == b"{%" || pair == b"{#")
}

/// Whether a bare expression holds.
pub fn holds(expression: &str, scope: &Scope) -> Result<bool, String> {
    Ok(evaluate(expression, scope)?.is_true())
}

/// The items that a bare expression gives, as JSON texts.
pub fn items(expression: &str, scope: &Scope) -> Result<Vec<Bytes>, String> {
    let list = evaluate(expression, scope)?;
    if !matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(format!("foreach: the expression gives a {}, not a list", list.kind()));
    }
    let mut items = Vec::new();
    let mut bytes: usize = 0;
    for item in list.try_iter().map_err(|error| say(&error))? {
        let item = to_json(&item)?;
        bytes = bytes.saturating_add(item.len());
        items.push(Bytes::from(item));
        if items.len() > limits::FOREACH_ITEMS_MAX || bytes > limits::RESULT_LIST_BYTES_MAX {
            let (items, bytes) = (limits::FOREACH_ITEMS_MAX, limits::RESULT_LIST_BYTES_MAX);
            return Err(format!("foreach: at most {items} items of {bytes} bytes in all"));
        }
    }
    Ok(items)
}

/// Builds an input: each string that holds expressions is replaced by what they give. A string that
/// is one expression keeps the value's type.
pub fn build(json: &Bytes, scope: &Scope) -> Result<Bytes, String> {
    if !is_dynamic(json) {
        return Ok(json.clone());
    }
    let mut input: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let value = scope.value();
    replace(&mut input, &value)?;
    let built = serde_json::to_vec(&input).map_err(|error| error.to_string())?;
    if built.len() > limits::PAYLOAD_BYTES_MAX {
        return Err(format!("input: {} bytes, at most {} may be", built.len(), limits::PAYLOAD_BYTES_MAX));
    }
    Ok(built.into())
}

fn replace(input: &mut Json, scope: &Value) -> Result<(), String> {
    match input {
        Json::String(text) if is_template(text) => *input = render(text, scope)?,
        Json::Array(items) => items.iter_mut().try_for_each(|item| replace(item, scope))?,
        Json::Object(members) => members.values_mut().try_for_each(|member| replace(member, scope))?,
        _ => {}
    }
    Ok(())
}

fn render(text: &str, scope: &Value) -> Result<Json, String> {
    if let Some(expression) = single(text)
        && let Ok(compiled) = BARE.compile_expression_owned(expression.to_owned())
    {
        let value = compiled.eval(scope.clone()).map_err(|error| say(&error))?;
        return if value.is_undefined() { Ok(Json::Null) } else { to_value(&value) };
    }
    ENVIRONMENT.render_named_str("input", text, scope.clone()).map(Json::String).map_err(|error| say(&error))
}

fn evaluate(expression: &str, scope: &Scope) -> Result<Value, String> {
    let compiled = BARE.compile_expression_owned(expression.to_owned()).map_err(|error| say(&error))?;
    compiled.eval(scope.value()).map_err(|error| say(&error))
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].into_iter().any(|mark| text.contains(mark))
}

/// What stands between the braces, if the whole string is between one pair of them.
fn single(text: &str) -> Option<&str> {
    text.trim().strip_prefix("{{")?.strip_suffix("}}").map(|inner| inner.trim_matches('-').trim())
}

fn from_json(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|_| Value::from(()))
}

fn to_value(value: &Value) -> Result<Json, String> {
    serde_json::to_value(value).map_err(|error| format!("the expression gives what JSON cannot say: {error}"))
}

fn to_json(value: &Value) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| format!("the expression gives what JSON cannot say: {error}"))
}

/// An error as one line, without its place in a file that nobody sees.
fn say(error: &Error) -> String {
    let kind = error.kind().to_string();
    match error.detail() {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        scope.set("input", br#"{"name":"shop","features":["auth","api"],"n":3,"on":true}"#);
        scope.set_results([
            ("a", Some(Bytes::from_static(br#"{"files":["x","y"],"big":12345678901234}"#))),
            ("b", None),
        ]);
        scope
    }

    fn built(json: &str) -> String {
        let bytes = build(&Bytes::copy_from_slice(json.as_bytes()), &scope()).expect("it builds");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn one_expression_keeps_its_type_and_text_around_it_makes_text() {
        assert_eq!(built(r#"{"x":"{{ input.n }}","y":"n={{ input.n }}"}"#), r#"{"x":3,"y":"n=3"}"#);
        assert_eq!(
            built(r#"["{{ tasks.a.result }}","{{input.on}}"]"#),
            r#"[{"big":12345678901234,"files":["x","y"]},true]"#
        );
        assert_eq!(built(r#""{{ input.features | length }}""#), "2");
        assert_eq!(built(r#""{{ input.name }}-{{ input.name }}""#), r#""shop-shop""#);
        assert_eq!(built(r#""got {{ tasks.a.result.files }}""#), r#""got [\"x\",\"y\"]""#);
        assert_eq!(built(r#""{% for f in input.features %}{{ f }};{% endfor %}""#), r#""auth;api;""#);
        assert_eq!(built(r#""<b> & {{ '<' }}""#), r#""<b> & <""#);
    }

    #[test]
    fn what_is_not_there_is_null_alone_and_an_error_in_text() {
        assert_eq!(built(r#""{{ input.missing }}""#), "null");
        assert_eq!(built(r#""{{ tasks.b.result }}""#), "null");
        assert_eq!(built(r#""{{ input.missing | default(7) }}""#), "7");
        assert!(build(&Bytes::from_static(br#""a{{ input.missing }}""#), &scope()).is_err());
        assert!(build(&Bytes::from_static(br#""{{ input.missing.deeper }}""#), &scope()).is_err());
    }

    #[test]
    fn conditions_and_lists() {
        assert_eq!(holds("'auth' in input.features and input.n > 2", &scope()), Ok(true));
        assert_eq!(holds("input.missing", &scope()), Ok(false));
        assert_eq!(items("tasks.a.result.files", &scope()), Ok(vec![Bytes::from("\"x\""), Bytes::from("\"y\"")]));
        assert_eq!(items("range(3)", &scope()).map(|items| items.len()), Ok(3));
        assert!(items("input.name", &scope()).is_err());
        assert!(items("range(20000)", &scope()).is_err());
    }

    #[test]
    fn steps_and_memory_are_bounded() {
        let hungry = [
            r#""{{ 'x' * 1000000000 }}""#,
            r#""{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{% endfor %}{% endfor %}""#,
            r#""{% set a = 'xxxxxxxx' * 1000 %}{{ a | replace('x', a) | replace('x', a) }}""#,
        ];
        for json in hungry {
            let error = build(&Bytes::from_static(json.as_bytes()), &scope()).expect_err(json);
            assert!(error.contains("fuel"), "{error}");
        }
    }

    #[test]
    fn references_are_found() {
        let found = references("tasks.a.result.x > 1 and input.y and item").expect("it compiles");
        assert_eq!(found.tasks, BTreeSet::from(["a".to_owned()]));
        assert_eq!(found.variables, BTreeSet::from(["input".to_owned(), "item".to_owned()]));
        assert!(references("range(3)").expect("it compiles").variables.is_empty());
        assert!(references("tasks['a-b'].result").expect("it compiles").all_tasks);
        assert!(references("1 +").is_err());
        assert_eq!(references_of_text("plain"), Ok(None));
        let text = references_of_text("{{ tasks.a.result }} and {{ tasks.b.result }}").expect("it compiles");
        assert_eq!(text.expect("dynamic").tasks.len(), 2);
        assert!(references_of_text("{{ 1 +").is_err());
    }
}
