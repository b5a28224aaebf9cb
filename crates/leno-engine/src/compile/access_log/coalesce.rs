//! `%COALESCE(…)%`: several operators, of which the first counts that says something.

use serde_json::Value;

use super::operator::Operator;

/// Of operators in operators.
const NESTED: usize = 4;

/// From a JSON object with an array `operators`: names, or objects of `command`, `param` and `max_length`.
/// `named`: one by its name and its argument. `depth`: within so many others.
pub(super) fn operator(
    argument: &str,
    depth: usize,
    named: impl Fn(&str, Option<&str>) -> Result<Operator, String>,
) -> Result<Operator, String> {
    let wrong = |why: &str| format!("%COALESCE(…)%: {why}");
    if depth >= NESTED {
        return Err(wrong("too deep"));
    }
    let said: Value = serde_json::from_str(argument).map_err(|why| wrong(&why.to_string()))?;
    let operators = said.get("operators").and_then(Value::as_array);
    let operators = operators
        .filter(|operators| !operators.is_empty())
        .ok_or_else(|| wrong("an array `operators` is needed that is not empty"))?;
    let one = |said: &Value| {
        if let Some(name) = said.as_str() {
            return Ok((named(name, None)?, None));
        }
        let text = |field: &str| match said.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong(&format!("`{field}` must be a text"))),
        };
        let name = text("command")?;
        let name = name.ok_or_else(|| wrong("an operator is a name, or an object with `command`"))?;
        let most = match said.get("max_length") {
            None => None,
            Some(most) => {
                let most = most.as_u64().and_then(|most| usize::try_from(most).ok());
                let most = most.filter(|most| *most > 0);
                Some(most.ok_or_else(|| wrong("`max_length` must be a positive number"))?)
            }
        };
        let argument = text("param")?.filter(|param| !param.is_empty());
        Ok((named(name, argument)?, most))
    };
    let operators = operators.iter().map(one).collect::<Result<_, String>>();
    operators.map(Operator::Coalesce)
}
