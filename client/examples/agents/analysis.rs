//! Analysis: requirements become a model, or are refused with the reason.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalogue::{FEATURES, Feature, KINDS, Kind, REFUSED, feature};

/// Entities that the requirements may bring.
const ENTITIES_MAX: usize = 20;
/// Fields of each of them.
const FIELDS_MAX: usize = 30;
const NAME_BYTES_MAX: usize = 40;
const APP_BYTES_MAX: usize = 100;
/// Paths that features answer themselves.
const RESERVED: [&str; 32] = [
    "admin",
    "audit",
    "cart",
    "catalog",
    "checkout",
    "conversations",
    "emails",
    "graphql",
    "health",
    "history",
    "login",
    "logout",
    "me",
    "metrics",
    "notifications",
    "openapi.json",
    "presence",
    "quota",
    "register",
    "reports",
    "taxes",
    "typing",
    "uploads",
    "users",
    "wishlist",
    "ws",
    "v1",
    "invoices",
    "processes",
    "schedules",
    "webhooks",
    "banned_words",
];

/// What an application is to be.
#[derive(Debug, Deserialize)]
pub(crate) struct Requirements {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    app_name: Option<String>,
    #[serde(default)]
    features: Option<Vec<String>>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    framework: Option<String>,
    /// What it keeps, beside what its type and features bring.
    #[serde(default)]
    entities: Vec<Asked>,
}

/// An entity that is asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    name: String,
    #[serde(default)]
    plural: Option<String>,
    fields: Vec<AskedField>,
}

#[derive(Debug, Deserialize)]
struct AskedField {
    name: String,
    #[serde(default = "text")]
    kind: String,
    #[serde(default)]
    required: bool,
}

fn text() -> String {
    "text".to_owned()
}

/// What an application will be: the result of analysis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    /// What it is called.
    pub(crate) app: String,
    /// Its crate.
    pub(crate) crate_name: String,
    /// Its type.
    pub(crate) kind: String,
    /// All features, also those that others stand on, in the order of the catalogue.
    pub(crate) features: Vec<String>,
    /// Those of them that nobody asked for.
    pub(crate) implied: Vec<String>,
    /// What it keeps; the first one is the main one.
    pub(crate) entities: Vec<Entity>,
}

/// What is kept of one kind of thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) plural: String,
    /// `open`, `read` or `closed`.
    pub(crate) access: String,
    pub(crate) fields: Vec<Field>,
}

/// One field of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// `text`, `integer`, `boolean`, or the name of the entity whose id it is.
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) hidden: bool,
}

impl Field {
    /// `name`, `name:kind`; with `!` it is required, with `~` it is never shown.
    fn parse(text: &str) -> Self {
        let plain = text.trim_end_matches(['!', '~']);
        let (name, kind) = plain.split_once(':').unwrap_or((plain, "text"));
        let marks = &text[plain.len()..];
        Self { name: name.into(), kind: kind.into(), required: marks.contains('!'), hidden: marks.contains('~') }
    }
}

impl Entity {
    /// `name/plural access: field field`.
    fn parse(text: &str) -> Self {
        let (head, fields) = text.split_once(": ").unwrap_or((text, ""));
        let (names, access) = head.split_once(' ').unwrap_or((head, "open"));
        let (name, plural) = names.split_once('/').unwrap_or((names, names));
        let fields = fields.split_whitespace().map(Field::parse).collect();
        Self { name: name.into(), plural: plural.into(), access: access.into(), fields }
    }
}

/// The model of what is required. The error says why there cannot be one.
pub(crate) fn analyse(requirements: &Requirements, kind_of_workflow: Option<&str>) -> Result<Model, String> {
    let kind = requirements.kind.as_deref().or(kind_of_workflow).unwrap_or("crud");
    let kind = KINDS.iter().find(|known| known.name == kind).ok_or_else(|| format!("there is no type {kind}"))?;
    check_language(requirements)?;
    let (offered, by_default) = offered(kind)?;
    let wanted = requirements.features.as_ref().unwrap_or(&by_default);
    let features = with_needs(kind, wanted, &offered)?;
    let app = app_name(requirements.app_name.as_deref().unwrap_or(kind.name));
    let mut model = Model {
        crate_name: crate_name(&app),
        app,
        kind: kind.name.to_owned(),
        implied: features
            .iter()
            .filter(|name| !wanted.contains(&(**name).to_owned()))
            .map(ToString::to_string)
            .collect(),
        features: features.iter().map(ToString::to_string).collect(),
        entities: Vec::new(),
    };
    entities(kind, requirements, &features, &mut model)?;
    Ok(model)
}

fn check_language(requirements: &Requirements) -> Result<(), String> {
    let language = requirements.language.as_deref().unwrap_or("rust");
    let framework = requirements.framework.as_deref().unwrap_or("std");
    match (language, framework) {
        ("rust", "std") => Ok(()),
        _ => Err(format!("these agents write rust on std, not {language} on {framework}")),
    }
}

/// What the type's template offers, and what it has unless something else is asked for.
pub(crate) fn offered(kind: &Kind) -> Result<(Vec<String>, Vec<String>), String> {
    let template: Value = serde_json::from_str(kind.template).map_err(|error| format!("{}: {error}", kind.name))?;
    let features = &template["parameters"]["properties"]["features"];
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    Ok((names(&features["items"]["enum"]), names(&features["default"])))
}

/// What is wanted and all that it stands on, in the catalogue's order.
fn with_needs(kind: &Kind, wanted: &[String], offered: &[String]) -> Result<Vec<&'static str>, String> {
    let (mut chosen, mut wrong) = (BTreeSet::from(["api"]), Vec::new());
    for name in wanted {
        let refused = REFUSED.iter().find(|(refused, _)| refused == name);
        match feature(name).filter(|_| offered.contains(name)) {
            Some(feature) => add(feature, &mut chosen),
            None => wrong.push(match refused {
                Some((name, why)) => format!("{name}: {why}"),
                None => format!("{name}: the type {} has no such feature", kind.name),
            }),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    Ok(FEATURES.iter().map(|feature| feature.name).filter(|name| chosen.contains(name)).collect())
}

fn add(feature: &'static Feature, chosen: &mut BTreeSet<&'static str>) {
    if chosen.insert(feature.name) {
        feature.needs.iter().filter_map(|name| self::feature(name)).for_each(|needed| add(needed, chosen));
    }
}

/// One line of text: it stands in comments and pages.
fn app_name(given: &str) -> String {
    let line: String = given.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mut name = line.trim().to_owned();
    while name.len() > APP_BYTES_MAX {
        name.pop();
    }
    if name.is_empty() { "app".to_owned() } else { name }
}

/// The name as that of a crate, which no keyword and no crate of the language has.
fn crate_name(app: &str) -> String {
    let letters = app
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
        .collect::<String>();
    let parts: Vec<&str> = letters.split('_').filter(|part| !part.is_empty()).collect();
    let name: String = parts.join("_").chars().take(NAME_BYTES_MAX).collect();
    let name = name.trim_matches('_');
    let begins = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    if begins { format!("{name}_app") } else { format!("app_{name}_app").replace("__", "_") }
}

fn entities(kind: &Kind, requirements: &Requirements, features: &[&str], model: &mut Model) -> Result<(), String> {
    let asked = asked(requirements, features)?;
    // Records of one's own are what a plain application is about.
    if kind.name != "crud" || asked.is_empty() {
        model.entities.push(Entity::parse(kind.base));
    }
    model.entities.extend(asked);
    let features: Vec<&Feature> = features.iter().filter_map(|name| feature(name)).collect();
    model.entities.extend(features.iter().flat_map(|feature| feature.entities.iter().map(|text| Entity::parse(text))));
    for text in features.iter().flat_map(|feature| feature.fields) {
        let (name, field) = text.split_once(": ").unwrap_or_default();
        let entity = model.entities.iter_mut().find(|entity| entity.name == name);
        entity.ok_or_else(|| format!("there is no {name}"))?.fields.push(Field::parse(field));
    }
    check_model(model)
}

/// The entities of the requirements, as far as they can be told to be sound alone.
fn asked(requirements: &Requirements, features: &[&str]) -> Result<Vec<Entity>, String> {
    if requirements.entities.len() > ENTITIES_MAX {
        return Err(format!("entities: at most {ENTITIES_MAX}"));
    }
    let mut entities = Vec::new();
    for asked in &requirements.entities {
        let plural = asked.plural.clone().unwrap_or_else(|| format!("{}s", asked.name));
        let names = asked.fields.iter().map(|field| &field.name).chain([&asked.name, &plural]);
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            return Err(format!(
                "{name:?}: a name has up to {NAME_BYTES_MAX} of a to z, 0 to 9 and _, and begins with a letter"
            ));
        }
        if RESERVED.contains(&plural.as_str()) {
            return Err(format!("{plural}: this path has another use"));
        }
        if asked.fields.is_empty() || asked.fields.len() > FIELDS_MAX {
            return Err(format!("{}: 1 to {FIELDS_MAX} fields", asked.name));
        }
        let field = |field: &AskedField| Field {
            name: field.name.clone(),
            kind: field.kind.clone(),
            required: field.required,
            hidden: false,
        };
        let fields = asked.fields.iter().map(field).collect();
        entities.push(Entity { name: asked.name.clone(), plural, access: "open".into(), fields });
    }
    let main = entities.first();
    if main.is_some_and(|entity| !entity.fields.iter().any(|field| field.required && field.kind == "text")) {
        return Err("the first entity needs a required field of text".into());
    }
    if main.is_some_and(|_| features.contains(&"reporting"))
        && entities[0].fields.iter().all(|field| field.kind != "integer")
    {
        return Err("reporting: the first entity needs a field of integers".into());
    }
    Ok(entities)
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_')
}

/// Names are unique, kinds are known, and nothing requires itself.
fn check_model(model: &Model) -> Result<(), String> {
    for (index, entity) in model.entities.iter().enumerate() {
        let twice = |other: &Entity| other.name == entity.name || other.plural == entity.plural;
        if model.entities[..index].iter().any(twice) {
            return Err(format!("{} is there twice", entity.name));
        }
        for (number, field) in entity.fields.iter().enumerate() {
            let name = format!("{}.{}", entity.name, field.name);
            if ["id", "deleted_at"].contains(&&*field.name)
                || entity.fields[..number].iter().any(|other| other.name == field.name)
            {
                return Err(format!("{name} has a name that is taken"));
            }
            let known = |kind: &str| model.entities.iter().position(|entity| entity.name == kind);
            match (&*field.kind, known(&field.kind)) {
                ("text" | "integer" | "boolean", _) => (),
                (kind, None) => return Err(format!("{name}: there is no kind {kind}")),
                // So that none is required to be there before itself.
                (kind, Some(place))
                    if field.required && place >= index && entity.access == "open" && !is_bought(model, place) =>
                {
                    return Err(format!("{name}: {kind} must come before {}", entity.name));
                }
                _ => (),
            }
        }
    }
    Ok(())
}

/// Whether an entity comes from a feature, whose records stand on their own.
fn is_bought(model: &Model, place: usize) -> bool {
    let name = &model.entities[place].name;
    FEATURES.iter().any(|feature| feature.entities.iter().any(|text| text.split('/').next() == Some(name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn of(requirements: Value) -> Result<Model, String> {
        analyse(&serde_json::from_value(requirements).unwrap(), None)
    }

    #[test]
    fn every_feature_that_is_offered_is_made_or_refused() {
        for kind in &KINDS {
            let (offered, by_default) = offered(kind).unwrap();
            assert!(offered.len() > 20 && by_default.iter().all(|name| offered.contains(name)), "{}", kind.name);
            for name in offered {
                let made = of(json!({ "type": kind.name, "features": [name] }));
                match REFUSED.iter().find(|(refused, _)| *refused == name) {
                    Some((_, why)) => assert!(made.unwrap_err().contains(why), "{name}"),
                    None => assert!(made.unwrap().features.contains(&name), "{name}"),
                }
            }
        }
    }

    #[test]
    fn nothing_in_the_catalogue_is_out_of_reach() {
        let all: BTreeSet<String> = KINDS.iter().flat_map(|kind| offered(kind).unwrap().0).collect();
        let needed: BTreeSet<&str> = FEATURES.iter().flat_map(|feature| feature.needs.iter().copied()).collect();
        for feature in FEATURES {
            assert!(all.contains(feature.name) || needed.contains(feature.name), "{}", feature.name);
        }
    }

    #[test]
    fn features_bring_what_they_stand_on_and_what_they_keep() {
        let model = of(json!({"type": "ecommerce", "app_name": "Tea & Cups", "features": ["checkout"]})).unwrap();
        assert_eq!(model.features, ["api", "cart", "orders", "checkout"]);
        assert_eq!(model.implied, ["api", "cart", "orders"]);
        let names: Vec<&str> = model.entities.iter().map(|entity| &*entity.name).collect();
        assert_eq!(names, ["product", "cart_item", "order", "order_line"]);
        assert_eq!((&*model.app, &*model.crate_name), ("Tea & Cups", "tea_cups_app"));
        let chat = of(json!({"type": "realtime_chat"})).unwrap();
        let room = chat.entities[0].fields.iter().find(|field| field.name == "room").unwrap();
        assert_eq!((&*room.kind, room.required, room.hidden), ("room", true, false));
    }

    #[test]
    fn names_cannot_do_harm() {
        for (given, app, name) in [
            ("a\n#![evil]", "a #![evil]", "a_evil_app"),
            ("2024", "2024", "app_2024_app"),
            ("", "app", "app_app"),
            ("\u{fc}", "\u{fc}", "app_app"),
            ("Test", "Test", "test_app"),
        ] {
            let model = of(json!({ "app_name": given })).unwrap();
            assert_eq!((&*model.app, &*model.crate_name), (app, name));
        }
    }

    #[test]
    fn entities_of_ones_own() {
        let field = |name: &str, kind: &str| json!({"name": name, "kind": kind, "required": true});
        let book = json!({"name": "book", "fields": [field("title", "text"), field("author", "author")]});
        let author = json!({"name": "author", "fields": [field("name", "text")]});
        let model = of(json!({"entities": [author, book]})).unwrap();
        assert_eq!(model.entities.iter().map(|entity| &*entity.plural).collect::<Vec<_>>(), ["authors", "books"]);
        for (bad, why) in [
            (json!([book, author]), "author must come before book"),
            (json!([{"name": "Book", "fields": [field("title", "text")]}]), "a name has"),
            (json!([{"name": "user", "fields": [field("name", "text")]}]), "another use"),
            (json!([{"name": "a", "fields": [field("id", "text")]}]), "taken"),
            (json!([{"name": "a", "fields": [field("b", "integer")]}]), "required field of text"),
            (json!([{"name": "a", "fields": [field("b", "text"), field("c", "colour")]}]), "no kind colour"),
            (json!([author, author]), "twice"),
        ] {
            let error = of(json!({ "entities": bad })).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_the_agents_cannot_write_is_refused() {
        assert!(of(json!({"language": "go"})).unwrap_err().contains("not go on std"));
        assert!(of(json!({"type": "game"})).unwrap_err().contains("no type game"));
        assert!(of(json!({"type": "crud", "features": ["cart"]})).unwrap_err().contains("crud has no such feature"));
        let both = of(json!({"type": "realtime_chat", "features": ["video", "rooms", "voice"]})).unwrap_err();
        assert!(both.contains("video: ") && both.contains("voice: "), "{both}");
    }
}
