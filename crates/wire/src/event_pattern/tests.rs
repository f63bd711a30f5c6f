//! Cases out of event-ruler's README and of its rule compiler, and a naive matcher to compare with.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::EventPattern;
use super::run::{Run, STEPS_MAX};

fn matches(pattern: &Value, event: &Value) -> bool {
    EventPattern::compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).matches(event)
}

/// An event with something for each operator.
fn rich_event() -> Value {
    json!({
        "s": "abc", "n": 300, "f": 3.5, "t": true, "z": null, "ip": "10.0.0.7", "ip6": "2001:db8::1",
        "list": ["x", 7, null], "o": {"p": "q"}, "empty": [],
        "objects": [{"a": 1, "b": 1}, {"a": 2, "b": 2}],
    })
}

#[test]
fn operators_match_what_the_readme_says() {
    let yes = [
        json!({"s": ["abc"]}),
        json!({"s": ["z", "abc"]}),
        json!({"s": [{"prefix": "ab"}]}),
        json!({"s": [{"prefix": {"equals-ignore-case": "AB"}}]}),
        json!({"s": [{"suffix": "bc"}]}),
        json!({"s": [{"suffix": {"equals-ignore-case": "BC"}}]}),
        json!({"s": [{"equals-ignore-case": "ABC"}]}),
        json!({"s": [{"wildcard": "a*c"}]}),
        json!({"s": [{"wildcard": "*b*"}]}),
        json!({"s": [{"anything-but": "x"}]}),
        json!({"s": [{"anything-but": ["x", "y"]}]}),
        json!({"s": [{"anything-but": {"prefix": "x"}}]}),
        json!({"s": [{"anything-but": {"suffix": ["x", "y"]}}]}),
        json!({"s": [{"anything-but": {"wildcard": "*x*"}}]}),
        json!({"n": [300]}),
        json!({"n": [300.0]}),
        json!({"n": [{"numeric": ["=", 3.0e2]}]}),
        json!({"n": [{"numeric": [">", 299, "<=", 300]}]}),
        json!({"f": [{"numeric": ["<", 4]}]}),
        json!({"n": [{"anything-but": 1}]}),
        json!({"t": [true]}),
        json!({"z": [null]}),
        json!({"z": [{"exists": true}]}),
        json!({"ip": [{"cidr": "10.0.0.0/29"}]}),
        json!({"ip6": [{"cidr": "2001:db8::/32"}]}),
        json!({"list": [7]}),
        json!({"list": [{"anything-but": "x"}]}),
        json!({"o": {"p": ["q"]}}),
        json!({"missing": [{"exists": false}]}),
        json!({"o": {"r": [{"exists": false}]}}),
        json!({"s": {"deep": [{"exists": false}]}}),
        json!({"empty": [{"exists": false}]}),
        json!({"o": [{"exists": false}]}),
        json!({"objects": {"a": [2], "b": [2]}}),
        json!({"$or": [{"s": ["no"]}, {"n": [300]}]}),
        json!({"o": {"$or": [{"p": ["no"]}, {"p": ["q"]}]}, "t": [true]}),
        json!({"s": ["no", {"exists": true}]}),
    ];
    for pattern in &yes {
        assert!(matches(pattern, &rich_event()), "{pattern}");
    }
}

#[test]
fn operators_do_not_match_anything_else() {
    let no = [
        json!({"s": ["ABC"]}),
        json!({"s": [{"prefix": "b"}]}),
        json!({"s": [{"wildcard": "a*d"}]}),
        json!({"s": [{"anything-but": ["abc", "x"]}]}),
        json!({"s": [{"anything-but": {"equals-ignore-case": "ABC"}}]}),
        json!({"s": [{"anything-but": {"prefix": ["x", "a"]}}]}),
        json!({"n": ["300"]}),
        json!({"n": [{"prefix": "3"}]}),
        json!({"n": [{"numeric": [">", 300]}]}),
        json!({"s": [{"numeric": [">", 0]}]}),
        json!({"ip": [{"cidr": "10.0.0.8/29"}]}),
        json!({"missing": [{"exists": true}]}),
        json!({"missing": [{"anything-but": "x"}]}),
        json!({"s": [{"exists": false}]}),
        json!({"objects": {"a": [1], "b": [2]}}),
        json!({"objects": {"a": [{"exists": false}]}}),
        json!({"o": ["q"]}),
        json!({"empty": [{"exists": true}]}),
        json!({"$or": [{"s": ["no"]}, {"n": [1]}]}),
        json!({"s": ["abc"], "n": [1]}),
    ];
    for pattern in &no {
        assert!(!matches(pattern, &rich_event()), "{pattern}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_in_the_words_of_event_ruler() {
    for (pattern, message) in [
        (json!([]), "Filter is not an object"),
        (json!({}), "Empty objects are not allowed"),
        (json!({"a": {}}), "Empty objects are not allowed"),
        (json!({"a": []}), "Empty arrays are not allowed"),
        (json!({"a": "x"}), "\"a\" must be an object or an array"),
        (json!({"a": [[1]]}), "Match value must be String, number, true, false, or null"),
        (json!({"a": [{}]}), "Match expression name not found"),
        (json!({"a": [{"prefix": "a", "suffix": "b"}]}), "Only one key allowed in match expression"),
        (json!({"a": [{"nope": 1}]}), "Unrecognized match type nope"),
        (json!({"a": [{"prefix": 1}]}), "prefix match pattern must be a string"),
        (json!({"a": [{"exists": "yes"}]}), "exists match pattern must be either true or false."),
        (
            json!({"a": [{"anything-but": ["a", 1]}]}),
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (json!({"a": [{"anything-but": {"numeric": 1}}]}), "Unsupported anything-but pattern: numeric"),
        (json!({"a": [{"numeric": []}]}), "Invalid member in numeric match: ]"),
        (json!({"a": [{"numeric": [1]}]}), "Invalid member in numeric match: 1"),
        (json!({"a": [{"numeric": ["~", 1]}]}), "Unrecognized numeric range operator: ~"),
        (json!({"a": [{"numeric": [">", "1"]}]}), "Value of > must be numeric"),
        (json!({"a": [{"numeric": [">", 2, "<", 1]}]}), "Bottom must be less than top"),
        (json!({"a": [{"numeric": ["<", 2, ">", 1]}]}), "Too many elements in numeric expression"),
        (json!({"a": [{"wildcard": "a**b"}]}), "Consecutive wildcard characters at pos 2"),
        (json!({"$or": [{"a": [1]}]}), "There must have at least 2 Objects in $or relationship."),
        (json!({"$or": {"a": [1]}}), "It must be an Array followed with $or."),
        (
            json!({"$or": [{"prefix": [1]}, {"a": [1]}]}),
            "prefix is Ruler reserved fieldName which cannot be used inside $or.",
        ),
    ] {
        assert_eq!(EventPattern::compile(&pattern).map(|_| ()).unwrap_err().0, message, "{pattern}");
    }
}

#[test]
fn combinations_are_the_product_of_the_values() {
    let pattern = json!({"a": [1, 2, 3], "b": {"c": [1, 2]}, "$or": [{"d": [1]}, {"e": [1, 2]}]});
    assert_eq!(EventPattern::compile(&pattern).map(|pattern| pattern.combinations()), Ok(18));
}

/// Whether the event is wanted, and in how many steps that was decided.
fn counted(pattern: &Value, event: &Value) -> (bool, u64) {
    let pattern = EventPattern::compile(pattern).expect("a pattern");
    let run = Run::new(event, &pattern.absences);
    (pattern.decides(&run), run.steps())
}

#[test]
fn b2_absence_is_looked_for_once_in_an_event() {
    let pattern = json!({"a": {"b": [{"exists": false}], "c": ["z"]}});
    let mut elements = vec![json!({"c": "y"}); 80_000];
    let (is_wanted, steps) = counted(&pattern, &json!({"a": elements}));
    assert!(!is_wanted && steps < 10 * 80_000, "{steps}");
    elements.push(json!({"c": "z"}));
    assert!(matches(&pattern, &json!({"a": elements})));
    // Absent means absent in all elements.
    elements[7] = json!({"b": 1});
    assert!(!matches(&pattern, &json!({"a": elements})));
}

#[test]
fn b2_long_lists_of_texts_are_looked_up() {
    let texts: Vec<String> = (0..25_000).map(|number| format!("t{number}")).collect();
    for list in [json!([{"anything-but": texts}]), json!([{"anything-but": {"equals-ignore-case": texts}}])] {
        let pattern = json!({"a": list});
        let mut elements = vec![json!("t24999"); 65_000];
        let (is_wanted, steps) = counted(&pattern, &json!({"a": elements}));
        assert!(!is_wanted && steps < 10 * 65_000, "{steps}");
        elements.push(json!("T"));
        assert!(matches(&pattern, &json!({"a": elements})));
    }
    assert!(matches(&json!({"a": texts}), &json!({"a": ["x", "t24999"]})));
}

#[test]
fn b2_what_takes_too_many_steps_is_not_wanted() {
    let numbers: Vec<u32> = (0..25_000).collect();
    let pattern = json!({"a": [{"anything-but": numbers}], "b": [{"exists": false}]});
    let (is_wanted, steps) = counted(&pattern, &json!({"a": vec![24_999; 65_000]}));
    assert_eq!((is_wanted, steps), (false, STEPS_MAX));
    // Nor is it when the end would have been a match, nor when running out of steps looks like one.
    let mut elements = vec![json!(24_999); 65_000];
    elements.push(json!(-1));
    assert_eq!(counted(&pattern, &json!({"a": elements})), (false, STEPS_MAX));
    // The control: the same pattern decides on what is within the bound.
    assert!(matches(&pattern, &json!({"a": [24_999, -1]})));
}

/// Names and values from small sets, so that patterns meet events.
fn event(depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![
        3 => leaf,
        3 => proptest::collection::btree_map("[pqr]", event(depth - 1), 0..3).prop_map(|map| json!(map)),
        2 => proptest::collection::vec(event(depth - 1), 0..3).prop_map(Value::from),
    ]
    .boxed()
}

fn pattern(depth: u32) -> BoxedStrategy<Value> {
    let value = prop_oneof![
        (0i64..4).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(|exists| json!({"exists": exists})),
        "[ab]{0,2}".prop_map(|text| json!({"prefix": text})),
        "[ab]{0,2}".prop_map(|text| json!({"suffix": text})),
        "[ab]{0,2}".prop_map(|text| json!({"anything-but": text})),
        "[ab][*]?[ab]".prop_map(|text| json!({"wildcard": text})),
        (0i64..4).prop_map(|number| json!({"numeric": [">=", number]})),
    ];
    let list = proptest::collection::vec(value, 1..3).prop_map(Value::from);
    let node = match depth {
        0 => list.boxed(),
        _ => prop_oneof![list, pattern(depth - 1)].boxed(),
    };
    proptest::collection::btree_map("[pqr]", node, 1..3).prop_map(|map| json!(map)).boxed()
}

/// Every way to pick one element of each list, as a list-free event.
fn choices(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(elements) if elements.is_empty() => vec![json!({})],
        Value::Array(elements) => elements.iter().flat_map(choices).collect(),
        Value::Object(object) => object.iter().fold(vec![json!({})], |made, (name, value)| {
            let values = choices(value);
            let with = |base: &Value, value: &Value| {
                let mut base = base.clone();
                base[name] = value.clone();
                base
            };
            made.iter().flat_map(|base| values.iter().map(move |value| with(base, value))).collect()
        }),
        leaf => vec![leaf.clone()],
    }
}

/// The paths of all plain values.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| paths(element, path, found)),
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| paths(value, &format!("{path}/{name}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

/// The naive matcher: a list-free event against a pattern, by its JSON pointers.
fn naive(pattern: &Value, event: &Value, path: &str, all: &[String]) -> bool {
    pattern.as_object().expect("patterns are objects").iter().all(|(name, node)| {
        let path = format!("{path}/{name}");
        let Value::Array(tests) = node else { return naive(node, event, &path, all) };
        let value = event.pointer(&path).filter(|value| !value.is_object());
        tests.iter().any(|test| match (test, value) {
            (Value::Object(test), _) if test.contains_key("exists") => {
                test["exists"] == all.contains(&path) && (test["exists"] == false || value.is_some())
            }
            (_, None) => false,
            (Value::Object(test), Some(value)) => {
                let (operator, wanted) = test.iter().next().expect("one operator");
                let text = value.as_str();
                let wanted_text = wanted.as_str().unwrap_or_default();
                match operator.as_str() {
                    "prefix" => text.is_some_and(|text| text.starts_with(wanted_text)),
                    "suffix" => text.is_some_and(|text| text.ends_with(wanted_text)),
                    "anything-but" => text != Some(wanted_text),
                    "wildcard" => {
                        let regex = regex::Regex::new(&format!("^{}$", wanted_text.replace('*', ".*"))).expect("valid");
                        text.is_some_and(|text| regex.is_match(text))
                    }
                    _ => value.as_i64().is_some_and(|number| number >= wanted[1].as_i64().expect("a number")),
                }
            }
            (test, Some(value)) => test == value,
        })
    })
}

proptest! {
    #[test]
    fn every_pattern_matches_as_the_naive_matcher_says(
        pattern in pattern(2),
        event in proptest::collection::btree_map("[pqr]", event(3), 0..3).prop_map(|map| json!(map)),
    ) {
        let mut all = Vec::new();
        paths(&event, "", &mut all);
        let expected = choices(&event).iter().any(|choice| naive(&pattern, choice, "", &all));
        prop_assert_eq!(matches(&pattern, &event), expected, "{} on {}", pattern, event);
    }
}
