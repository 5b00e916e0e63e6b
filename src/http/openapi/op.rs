//! How one operation is described: short words for what many of them share.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{
        Content, HeaderBuilder, HttpMethod, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder,
        Schema, Type,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{AllOfBuilder, ArrayBuilder, KnownFormat, OneOfBuilder, SchemaFormat, SchemaType},
        security::SecurityRequirement,
    },
};

use super::parts::{Pending, Problem};
use crate::{
    domain::id::{EventId, UserId},
    error::ErrorCode,
};

/// The name of the one way to present a credential.
pub(super) const BEARER: &str = "bearer";

/// Components by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// The description of one operation while it is put together. What it answers besides is
/// added by what it takes: who must be signed in can be refused, a body can be broken.
pub(super) struct Op {
    method: HttpMethod,
    path: &'static str,
    operation: OperationBuilder,
    answers: BTreeMap<u16, Response>,
    refusals: BTreeMap<u16, Vec<ErrorCode>>,
    schemas: Schemas,
}

/// A finished operation, and the components it speaks of.
pub(super) struct Described {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) operation: Operation,
    pub(super) schemas: Schemas,
}

/// The component of `T`, and whatever it speaks of, put into `schemas`.
pub(super) fn component<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
    Ref::from_schema_name(T::name()).into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn json(schema: RefOr<Schema>) -> Content {
    Content::new(Some(schema))
}

impl Op {
    /// The operation of `method` on `path` for somebody signed in, under a `name` that
    /// generated clients give it.
    pub(super) fn new(method: HttpMethod, path: &'static str, name: &str, summary: &str) -> Self {
        let op = Self {
            method,
            path,
            operation: OperationBuilder::new()
                .operation_id(Some(name))
                .summary(Some(summary)),
            answers: BTreeMap::new(),
            refusals: BTreeMap::new(),
            schemas: Vec::new(),
        };
        op.refuses(&[ErrorCode::InternalError]).gaps()
    }

    /// Everything in braces in the path.
    fn gaps(mut self) -> Self {
        for gap in self.path.split('{').skip(1) {
            let name = gap.split('}').next().unwrap_or_default();
            let schema = match name {
                "event" => EventId::schema(),
                "user" => UserId::schema(),
                "session" => text()
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
                    .into(),
                _ => text().min_length(Some(1)).into(),
            };
            let gap = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .example(matches!(name, "event" | "user").then(|| 1.into()))
                .schema(Some(schema));
            self.operation = self.operation.parameter(gap);
            self = self.refuses(&[ErrorCode::BadRequest]);
        }
        self
    }

    /// Under which heading it stands.
    pub(super) fn tag(mut self, tag: &str) -> Self {
        self.operation = self.operation.tag(tag);
        self
    }

    /// What is to be said beyond the summary.
    pub(super) fn about(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// Only for who is signed in.
    pub(super) fn signed_in(mut self) -> Self {
        self.operation = self
            .operation
            .security(SecurityRequirement::new(BEARER, Vec::<String>::new()));
        self.refuses(&[
            ErrorCode::AuthTokenMissing,
            ErrorCode::AuthTokenExpired,
            ErrorCode::AuthTokenInvalid,
            ErrorCode::RateLimitExceeded,
            ErrorCode::Unavailable,
        ])
    }

    /// May be refused with these.
    pub(super) fn refuses(mut self, codes: &[ErrorCode]) -> Self {
        for code in codes {
            let of_status = self.refusals.entry(code.status()).or_default();
            if !of_status.contains(code) {
                of_status.push(*code);
            }
        }
        self
    }

    fn parameter(mut self, parameter: impl Into<Parameter>) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// Takes a parameter in the query that may be absent.
    pub(super) fn query(self, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.refuses(&[ErrorCode::BadRequest]).parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(about))
                .schema(Some(schema)),
        )
    }

    fn header(self, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .description(Some(about))
                .schema(Some(schema)),
        )
    }

    /// Takes a JSON body.
    pub(super) fn body<T: ToSchema>(self) -> Self {
        self.takes::<T>(Required::True)
    }

    /// Takes a JSON body, or none.
    pub(super) fn optional_body<T: ToSchema>(self) -> Self {
        self.takes::<T>(Required::False)
    }

    fn takes<T: ToSchema>(mut self, required: Required) -> Self {
        let schema = component::<T>(&mut self.schemas);
        self.operation = self.operation.request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", json(schema))
                .required(Some(required))
                .build(),
        ));
        self.refuses(&[ErrorCode::BadRequest, ErrorCode::FrameTooBig])
    }

    fn answer(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.answers.insert(status, response.build());
        self
    }

    /// Answers `T`.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, about: &str) -> Self {
        let schema = component::<T>(&mut self.schemas);
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", json(schema));
        self.answer(status, response)
    }

    /// Answers a bare array of `T`.
    pub(super) fn answers_list<T: ToSchema>(mut self, about: &str) -> Self {
        let items = ArrayBuilder::new().items(component::<T>(&mut self.schemas));
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", json(items.into()));
        self.answer(200, response)
    }

    /// Answers a bare array of `T`, or `Page` if it was asked for pages.
    pub(super) fn answers_list_or<T: ToSchema, Page: ToSchema>(mut self, about: &str) -> Self {
        let items = ArrayBuilder::new().items(component::<T>(&mut self.schemas));
        let either = OneOfBuilder::new()
            .item(items)
            .item(component::<Page>(&mut self.schemas));
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", json(either.into()));
        self.answer(200, response)
    }

    /// Answers text or bytes of this type.
    pub(super) fn answers_text(self, status: u16, content_type: &str, about: &str) -> Self {
        let response = ResponseBuilder::new()
            .description(about)
            .content(content_type, json(text().into()));
        self.answer(status, response)
    }

    /// Answers a whole document of this type, whose form is none of ours.
    pub(super) fn answers_document(self, content_type: &str, about: &str) -> Self {
        let any = Schema::Object(ObjectBuilder::new().schema_type(SchemaType::AnyValue).build());
        let response = ResponseBuilder::new()
            .description(about)
            .content(content_type, json(any.into()));
        self.answer(200, response)
    }

    /// What it answers with `status` may also be text of this type.
    pub(super) fn also_text(mut self, status: u16, content_type: &str) -> Self {
        if let Some(response) = self.answers.get_mut(&status) {
            response
                .content
                .insert(content_type.to_owned(), json(text().into()));
        }
        self
    }

    /// Answers no body.
    pub(super) fn answers_nothing(self, status: u16, about: &str) -> Self {
        self.answer(status, ResponseBuilder::new().description(about))
    }

    /// Answers `T` once the change stands in the event's record; 202 while the record is away.
    /// Both carry the event's tag.
    pub(super) fn records<T: ToSchema>(mut self, status: u16, about: &str) -> Self {
        self = self.answers::<T>(status, about).tagged(status);
        let (done, pending) = (
            component::<T>(&mut self.schemas),
            component::<Pending>(&mut self.schemas),
        );
        let both = AllOfBuilder::new().item(done).item(pending);
        let response = ResponseBuilder::new()
            .description("Done; the event's record follows by itself.")
            .content("application/json", json(both.into()));
        self.answer(202, response).tagged(202)
    }

    /// The answer of `status` names the event's state.
    pub(super) fn tagged(mut self, status: u16) -> Self {
        let header = HeaderBuilder::new()
            .schema(text())
            .description(Some("The event's state: `\"<id>-<fact_no>\"`."))
            .build();
        if let Some(response) = self.answers.get_mut(&status) {
            response.headers.insert("ETag".to_owned(), header);
        }
        self
    }

    /// Changes the event only in a state that `If-Match` names.
    pub(super) fn only_if(self) -> Self {
        self.refuses(&[ErrorCode::PreconditionFailed]).header(
            "If-Match",
            "Tags of the states in which the change is meant; in any other it is refused with the event as it is.",
            text(),
        )
    }

    /// Answers 304 when the client has the state.
    pub(super) fn if_none_match(self) -> Self {
        self.answers_nothing(304, "The client has the event as it is.")
            .tagged(304)
            .header("If-None-Match", "Tags of the states that the client has.", text())
    }

    /// Happens once for each key.
    pub(super) fn keyed(self) -> Self {
        let key = text().min_length(Some(1)).max_length(Some(200));
        self.refuses(&[ErrorCode::ValidationError, ErrorCode::IdempotencyKeyReused])
            .header(
                "Idempotency-Key",
                "Any 1-200 visible ASCII characters. The same request under the same key within 24 hours is answered \
                 as the first was, with `Idempotency-Replayed: true`; another request under it is refused.",
                key,
            )
    }

    /// The finished operation.
    pub(super) fn finish(mut self) -> Described {
        let schema = component::<Problem>(&mut self.schemas);
        for (status, codes) in &self.refusals {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
            let about = codes.join(", ");
            let mut response = match self.answers.remove(status) {
                Some(response) => {
                    let about = format!("{} Or {about}.", response.description);
                    ResponseBuilder::from(response).description(about)
                }
                None => ResponseBuilder::new().description(about),
            };
            for content_type in ["application/json", "application/problem+json"] {
                response = response.content(content_type, json(schema.clone()));
            }
            if matches!(status, 429 | 503) {
                let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
                let header = HeaderBuilder::new()
                    .schema(seconds)
                    .description(Some("Seconds until a repetition may succeed."));
                response = response.header("Retry-After", header.build());
            }
            self.answers.insert(*status, response.build());
        }
        let language = "Which of `ko` and `en` texts are in; else the user's own language.";
        self = self.header("Accept-Language", language, text());
        let operation = self
            .answers
            .into_iter()
            .fold(self.operation, |operation, (status, response)| {
                operation.response(status.to_string(), response)
            });
        Described {
            method: self.method,
            path: self.path,
            operation: operation.build(),
            schemas: self.schemas,
        }
    }
}
