//! Reads a statement. What it cannot read is a syntax error, as a server would say.

use super::{
    text::{Action, Change, Condition, Definition, Name, Op, Relation, Role, Select, Statement, Term},
    wire::Type,
};

type Parsed<T> = Result<T, String>;

/// `text` as a statement; names without a keyspace belong to `keyspace`.
pub(super) fn parse(text: &str, keyspace: Option<&str>) -> Parsed<Statement> {
    let mut parser = Parser {
        words: words(text),
        at: 0,
        open: Vec::new(),
        keyspace: keyspace.map(ToOwned::to_owned),
    };
    let action = parser.statement()?;
    parser.skip(";");
    if parser.at < parser.words.len() {
        return Err(format!(
            "no viable alternative at input '{}'",
            parser.words[parser.at]
        ));
    }
    Ok(Statement {
        action,
        open: parser.open,
    })
}

/// Names (in lower case, unless quoted), numbers, texts (with their quotes) and marks.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = 1 + rest[1..].find('"').unwrap_or(rest.len() - 1);
            words.push(rest[1..end].to_owned());
            rest = rest.get(end + 1..).unwrap_or_default().trim_start();
            continue;
        }
        let length = if first == '\'' {
            let mut end = 1;
            while let Some(c) = rest[end..].chars().next() {
                match (c, rest[end..].starts_with("''")) {
                    ('\'', true) => end += 2,
                    ('\'', false) => break,
                    (other, _) => end += other.len_utf8(),
                }
            }
            (end + 1).min(rest.len())
        } else if first.is_alphanumeric() || first == '_' || first == '-' {
            let dot = first.is_ascii_digit();
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-' || (dot && c == '.')))
                .unwrap_or(rest.len())
        } else if rest.starts_with("<=") || rest.starts_with(">=") {
            2
        } else {
            first.len_utf8()
        };
        let word = &rest[..length];
        words.push(if first == '\'' {
            word.to_owned()
        } else {
            word.to_lowercase()
        });
        rest = rest[length..].trim_start();
    }
    words
}

struct Parser {
    words: Vec<String>,
    at: usize,
    open: Vec<Role>,
    keyspace: Option<String>,
}

impl Parser {
    fn next(&mut self) -> Parsed<String> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word.ok_or_else(|| "no viable alternative at input '<EOF>'".to_owned())
    }

    /// Whether `phrase` stands here; then it is behind.
    fn skip(&mut self, phrase: &str) -> bool {
        let count = phrase.split(' ').count();
        let here = phrase
            .split(' ')
            .eq(self.words.iter().skip(self.at).take(count).map(String::as_str));
        self.at += if here { count } else { 0 };
        here
    }

    fn expect(&mut self, phrase: &str) -> Parsed<()> {
        if self.skip(phrase) {
            return Ok(());
        }
        let found = self.words.get(self.at).map_or("<EOF>", String::as_str);
        Err(format!("mismatched input '{found}' expecting '{phrase}'"))
    }

    fn name(&mut self) -> Parsed<Name> {
        let first = self.next()?;
        if self.skip(".") {
            return Ok(Name {
                keyspace: first,
                table: self.next()?,
            });
        }
        let keyspace = self.keyspace.clone();
        let keyspace = keyspace.ok_or("no keyspace has been specified")?;
        Ok(Name {
            keyspace,
            table: first,
        })
    }

    fn separated<T>(&mut self, by: &str, one: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.skip(by) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn term(&mut self, role: Role) -> Parsed<Term> {
        let word = self.next()?;
        if word == "?" {
            self.open.push(role);
            return Ok(Term::Open(self.open.len() - 1));
        }
        if let Some(close) = [("(", ")"), ("{", "}"), ("[", "]")]
            .iter()
            .find_map(|(open, close)| (word == *open).then_some(*close))
        {
            let mut all = Vec::new();
            while !self.skip(close) {
                all.push(self.term(role.clone())?);
                // A map is kept as its keys and values by turns.
                let _ = self.skip(":") || self.skip(",");
            }
            return Ok(Term::Many(all));
        }
        if let Some(text) = word.strip_prefix('\'') {
            return Ok(Term::Text(text[..text.len() - 1].replace("''", "'")));
        }
        Ok(word.parse().map_or(Term::Word(word), Term::Number))
    }

    fn relation(&mut self) -> Parsed<Relation> {
        let column = self.next()?;
        let (op, role) = match self.next()?.as_str() {
            "=" => (Op::Is, Role::Column(column.clone())),
            "<" => (Op::Below, Role::Column(column.clone())),
            "<=" => (Op::UpTo, Role::Column(column.clone())),
            ">" => (Op::Above, Role::Column(column.clone())),
            ">=" => (Op::From, Role::Column(column.clone())),
            "in" => (Op::OneOf, Role::OneOf(column.clone())),
            other => return Err(format!("no viable alternative at input '{other}'")),
        };
        let term = self.term(role)?;
        Ok(Relation { column, op, term })
    }

    fn filter(&mut self) -> Parsed<Vec<Relation>> {
        self.separated("and", Self::relation)
    }

    fn statement(&mut self) -> Parsed<Action> {
        match self.next()?.as_str() {
            "select" => self.select(),
            "insert" => self.insert(),
            "update" => self.update(),
            "delete" => self.delete(),
            "use" => Ok(Action::Use(self.next()?)),
            "create" if self.skip("keyspace") => self.create_keyspace(),
            "create" if self.skip("table") => self.create_table(),
            other => Err(format!("no viable alternative at input '{other}'")),
        }
    }

    fn select(&mut self) -> Parsed<Action> {
        let distinct = self.skip("distinct");
        let columns = if self.skip("*") {
            Vec::new()
        } else {
            self.separated(",", Self::next)?
        };
        self.expect("from")?;
        let table = self.name()?;
        let filter = if self.skip("where") {
            self.filter()?
        } else {
            Vec::new()
        };
        let order = if self.skip("order by") {
            let column = self.next()?;
            let down = !self.skip("asc") && self.skip("desc");
            Some((column, down))
        } else {
            None
        };
        let limit = if self.skip("limit") {
            Some(self.term(Role::Limit)?)
        } else {
            None
        };
        self.skip("allow filtering");
        // Only ScyllaDB has this, and the driver asks it so for its own tables.
        if self.skip("using timeout") {
            self.next()?;
        }
        Ok(Action::Select(Select {
            distinct,
            columns,
            table,
            filter,
            order,
            limit,
        }))
    }

    fn timestamp(&mut self) -> Parsed<Option<Term>> {
        if self.skip("using ttl") {
            // Nothing lives long enough here to end by itself.
            return self.next().map(|_| None);
        }
        if self.skip("using timestamp") {
            self.term(Role::Timestamp).map(Some)
        } else {
            Ok(None)
        }
    }

    fn condition(&mut self) -> Parsed<Condition> {
        Ok(if self.skip("if exists") {
            Condition::Exists
        } else if self.skip("if not exists") {
            Condition::NotExists
        } else if self.skip("if") {
            Condition::Columns(self.filter()?)
        } else {
            Condition::Never
        })
    }

    fn insert(&mut self) -> Parsed<Action> {
        self.expect("into")?;
        let table = self.name()?;
        self.expect("(")?;
        let columns = self.separated(",", Self::next)?;
        self.expect(") values (")?;
        let mut sets = Vec::new();
        for column in columns {
            let term = self.term(Role::Column(column.clone()))?;
            sets.push((column, term));
            self.skip(",");
        }
        self.expect(")")?;
        let condition = self.condition()?;
        let timestamp = self.timestamp()?;
        Ok(Action::Change(Change {
            insert: true,
            delete: false,
            table,
            sets,
            filter: Vec::new(),
            condition,
            timestamp,
        }))
    }

    fn update(&mut self) -> Parsed<Action> {
        let table = self.name()?;
        let timestamp = self.timestamp()?;
        self.expect("set")?;
        let sets = self.separated(",", |parser| {
            let column = parser.next()?;
            parser.expect("=")?;
            let term = parser.term(Role::Column(column.clone()))?;
            Ok((column, term))
        })?;
        self.expect("where")?;
        let filter = self.filter()?;
        let condition = self.condition()?;
        Ok(Action::Change(Change {
            insert: false,
            delete: false,
            table,
            sets,
            filter,
            condition,
            timestamp,
        }))
    }

    fn delete(&mut self) -> Parsed<Action> {
        let mut sets = Vec::new();
        if !self.skip("from") {
            for column in self.separated(",", Self::next)? {
                sets.push((column, Term::Word("null".to_owned())));
            }
            self.expect("from")?;
        }
        let table = self.name()?;
        let timestamp = self.timestamp()?;
        self.expect("where")?;
        let filter = self.filter()?;
        let condition = self.condition()?;
        Ok(Action::Change(Change {
            insert: false,
            delete: sets.is_empty(),
            table,
            sets,
            filter,
            condition,
            timestamp,
        }))
    }

    fn options(&mut self) -> Parsed<Vec<(String, Term)>> {
        if !self.skip("with") {
            return Ok(Vec::new());
        }
        self.separated("and", |parser| {
            let name = parser.next()?;
            parser.expect("=")?;
            let term = parser.term(Role::Column(name.clone()))?;
            Ok((name, term))
        })
    }

    fn create_keyspace(&mut self) -> Parsed<Action> {
        let if_missing = self.skip("if not exists");
        let name = self.next()?;
        let options = self.options()?;
        Ok(Action::CreateKeyspace {
            name,
            if_missing,
            options,
        })
    }

    fn create_table(&mut self) -> Parsed<Action> {
        let if_missing = self.skip("if not exists");
        let table = self.name()?;
        self.expect("(")?;
        let (mut columns, mut partition, mut clustering) = (Vec::new(), Vec::new(), Vec::new());
        while !self.skip(")") {
            if self.skip("primary key (") {
                if self.skip("(") {
                    partition = self.separated(",", Self::next)?;
                    self.expect(")")?;
                } else {
                    partition.push(self.next()?);
                }
                while self.skip(",") {
                    clustering.push((self.next()?, false));
                }
                self.expect(")")?;
            } else {
                let (name, typ) = (self.next()?, self.next()?);
                let typ = Type::named(&typ).ok_or_else(|| format!("unknown type {typ}"))?;
                let fixed = self.skip("static");
                if self.skip("primary key") {
                    partition.push(name.clone());
                }
                columns.push(Definition { name, typ, fixed });
            }
            self.skip(",");
        }
        if self.skip("with clustering order by (") {
            for (column, down) in &mut clustering {
                self.expect(column)?;
                *down = !self.skip("asc") && self.skip("desc");
                self.skip(",");
            }
            self.expect(")")?;
            if self.skip("and") {
                self.at -= 1;
                "with".clone_into(&mut self.words[self.at]);
            }
        }
        self.options()?;
        Ok(Action::CreateTable {
            table,
            if_missing,
            columns,
            partition,
            clustering,
        })
    }
}
