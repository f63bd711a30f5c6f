//! The service's state: the store, the caches over it, and the look-ups that every request makes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kv::{Kv, Txn};
use sys::turns::Turns;
use sys::{Clock, Rng, Timestamp};
use wire::service::BoxFuture;
use wire::sigv4::{Credential, Secret};
use wire::{AccountId, Principal, SessionFacts};

use crate::aws_managed;
use crate::cache::{Cache, Noted, Second};
use crate::decisions::Decisions;
use crate::error::IamError;
use crate::keys::{self, AccessKeyRecord, Identity, IdentityKind, LastUsed, Managed, Master};
use crate::limits::{ACCESS_KEY_ID_BYTES_MAX, FUNCTION_SESSION_S, LAST_USED_STEP_US, SIMULATIONS_MAX};
use crate::ops::access_keys::enter_all;
use crate::ops::merge_tag;
use crate::policy::{Kind, Named};
use crate::session::{Seal, TemporaryKeys};

/// IAM and STS of all accounts. Cloning is cheap.
#[derive(Clone)]
pub struct Iam(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) kv: Kv,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) seal: Seal,
    pub(crate) cache: Arc<Cache<Arc<PolicySet>, Arc<AccessKeyRecord>>>,
    noted: Noted,
    pub(crate) second: Second,
    pub(crate) decisions: Option<Decisions>,
    pub(crate) issuer_keys: Option<IssuerKeys>,
    pub(crate) simulations: Turns,
    /// See [`Extras::permissive`].
    pub(crate) permissive: bool,
}

/// Where the keys of OpenID Connect issuers come from: the issuer's URL (with its scheme) in, its JWKS document out.
pub type IssuerKeys = Arc<dyn Fn(String) -> BoxFuture<Result<String, String>> + Send + Sync>;

/// What the identity service may be given beside its store.
#[derive(Clone, Default)]
pub struct Extras {
    /// Where decisions are recorded.
    pub decisions: Option<Decisions>,
    /// The keys of issuers; without them no web identity token is taken.
    pub issuer_keys: Option<IssuerKeys>,
    /// Permissive mode: everybody assumes every role, one that does not exist too, and acts in its account. What
    /// enforcement would have said is recorded.
    pub permissive: bool,
}

/// Who stands behind an access key.
#[derive(Clone, Debug)]
pub struct Found {
    /// Secret and, of temporary keys, the session token.
    pub credential: Credential,
    /// Who acts with it.
    pub principal: Principal,
    /// The account that it acts in.
    pub account: AccountId,
    /// From this moment on the key is refused; `None` for long-term keys.
    pub expires: Option<Timestamp>,
}

/// The policies that speak for one principal, compiled.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Attached and inline policies, those of the groups too.
    pub identity: Vec<Named>,
    /// The permissions boundary.
    pub boundary: Option<Named>,
    /// The service control policies over the account; `None` when it has none.
    pub service_control: Option<Vec<Named>>,
    /// The session policies; `None` when the session has none.
    pub session: Option<Vec<Named>>,
    /// Tags of the user, or of the role with the session's over them.
    pub tags: Vec<(String, String)>,
    /// Whether the user or role still exists. If not, its keys are refused.
    pub alive: bool,
}

impl PolicySet {
    /// Bytes of the texts of all its policies.
    pub(crate) fn bytes(&self) -> usize {
        let lists = [Some(&self.identity), self.service_control.as_ref(), self.session.as_ref()];
        let all = lists.into_iter().flatten().flatten().chain(&self.boundary);
        all.map(|named| named.policy.bytes()).sum()
    }
}

impl Iam {
    /// The identity service over `kv`. Must be called within a tokio runtime: a task follows the store's changes.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(kv: Kv, clock: Clock, rng: Rng) -> Result<Self, kv::Error> {
        Self::open_with(kv, clock, rng, Extras::default()).await
    }

    /// The same, with a record of decisions and the keys of issuers.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_with(kv: Kv, clock: Clock, rng: Rng, extras: Extras) -> Result<Self, kv::Error> {
        let fresh = sys::id::hex::<32>(&rng);
        let opened = kv.transact(|tx| {
            let fresh = fresh.clone();
            async move {
                if let Some(master) = keys::get::<Master>(&tx, &keys::master()).await? {
                    return Ok(master);
                }
                let master = Master { secret: fresh };
                keys::set(&tx, keys::master(), &master);
                Ok::<_, kv::Error>(master)
            }
        });
        let seal = Seal::new(Secret::new(opened.await?.secret));
        enter_all(&kv).await?;
        let cache = Arc::new(Cache::new());
        let mut watch = kv.watch(keys::generation())?;
        let followed = Arc::downgrade(&cache);
        sys::task::spawn("iam changes", async move {
            while watch.changed().await.is_ok() {
                let Some(cache) = followed.upgrade() else { return };
                cache.forget();
            }
        });
        let Extras { decisions, issuer_keys, permissive } = extras;
        let (noted, second, simulations) = (Noted::default(), Second::default(), Turns::new(SIMULATIONS_MAX, 1));
        let inner =
            Inner { kv, clock, rng, seal, cache, noted, second, decisions, issuer_keys, simulations, permissive };
        Ok(Self(Arc::new(inner)))
    }

    /// Who stands behind `access_key_id`; `None` when the key is unknown, inactive or expired, when `session_token`
    /// is missing, superfluous or forged, when the user or role no longer exists (permissive mode does without the
    /// role), or when policies are enforced and permissive mode made the keys. The caller still has to check
    /// the signature against the secret, and a function's source against the socket that the request came in by.
    ///
    /// # Errors
    /// The store's.
    pub async fn credential(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Option<Found>, IamError> {
        let found = match session_token {
            Some(token) => self.0.seal.open(access_key_id, token).map(|(credential, principal)| {
                let expires = principal.session().map(|session| session.expires);
                (credential, principal, expires)
            }),
            None => self.long_term(access_key_id).await?,
        };
        let Some((credential, principal, expires)) = found else { return Ok(None) };
        if expires.is_some_and(|expires| expires <= self.0.clock.now()) {
            return Ok(None);
        }
        if !self.0.permissive && principal.session().is_some_and(|session| session.is_permissive) {
            return Ok(None);
        }
        let is_anyones = self.0.permissive && matches!(principal, Principal::AssumedRole { .. });
        if !self.policies_of(&principal).await?.alive && !is_anyones {
            return Ok(None);
        }
        let Some(account) = principal.account().cloned() else { return Ok(None) };
        Ok(Some(Found { credential, principal, account, expires }))
    }

    async fn long_term(&self, id: &str) -> Result<Option<(Credential, Principal, Option<Timestamp>)>, IamError> {
        if id.len() > ACCESS_KEY_ID_BYTES_MAX {
            return Ok(None);
        }
        let epoch = self.0.cache.epoch();
        let record = match self.0.cache.keys.get(epoch, id) {
            Some(record) => record,
            None => {
                let key = keys::access_key(id);
                let read = self.0.kv.read(|tx| async move { keys::get::<AccessKeyRecord>(&tx, &key).await });
                let Some(record) = read.await? else { return Ok(None) };
                let record = Arc::new(record);
                self.0.cache.keys.insert(epoch, id.to_owned(), Arc::clone(&record));
                record
            }
        };
        let Some(account) = AccountId::parse(&record.account).filter(|_| record.active) else { return Ok(None) };
        let credential = Credential { secret: Secret::new(record.secret.as_str()), session_token: None };
        if record.root {
            return Ok(Some((credential, Principal::Root { account }, None)));
        }
        let Some(user) = self.identity(&record.account, IdentityKind::User, &record.user).await? else {
            return Ok(None);
        };
        let principal =
            Principal::User { account, arn: user.arn(), id: record.user_id.clone(), name: user.name, session: None };
        Ok(Some((credential, principal, None)))
    }

    /// Whether the keys were once good and have come to their end: clients are told so, and fetch new ones.
    pub fn has_expired(&self, access_key_id: &str, session_token: &str) -> bool {
        let opened = self.0.seal.open(access_key_id, session_token);
        let expires = opened.and_then(|(_, principal)| principal.session().map(|session| session.expires));
        expires.is_some_and(|expires| expires <= self.0.clock.now())
    }

    /// Whether [`Iam::note_use`] would write anything now.
    pub fn use_is_due(&self, access_key_id: &str) -> bool {
        self.0.noted.would_be_due(access_key_id, self.now_us(), LAST_USED_STEP_US)
    }

    /// Notes that a long-term key was used, at most once a minute.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_use(&self, access_key_id: &str, region: &str, service: &str) -> Result<(), IamError> {
        let at_us = self.0.clock.now().unix_us();
        if !self.0.noted.is_due(access_key_id, at_us, LAST_USED_STEP_US) {
            return Ok(());
        }
        let used = LastUsed { at_us, region: region.to_owned(), service: service.to_owned() };
        let key = keys::last_used(access_key_id);
        self.0
            .kv
            .transact(|tx| {
                let (key, used) = (key.clone(), used.clone());
                async move {
                    let before = keys::get::<LastUsed>(&tx, &key).await?;
                    if before.is_none_or(|before| at_us - before.at_us >= LAST_USED_STEP_US) {
                        keys::set(&tx, key, &used);
                    }
                    Ok::<_, IamError>(())
                }
            })
            .await
    }

    /// Temporary keys of exactly the role `role_arn` for an execution environment of the function `function_arn`
    /// (unqualified). They live 12 h; ask again before. `None` when the role does not exist. Whether
    /// `lambda.amazonaws.com` may assume the role is for [`Iam::service_may_assume`] to say.
    ///
    /// # Errors
    /// The store's.
    pub async fn issue_function_session(
        &self,
        role_arn: &str,
        function_arn: &str,
        environment_id: &str,
    ) -> Result<Option<TemporaryKeys>, IamError> {
        let Some(role) = self.role_by_arn(role_arn).await? else { return Ok(None) };
        let Some(account) = AccountId::parse(&role.account) else { return Ok(None) };
        let function = function_arn.rsplit(':').next().unwrap_or_default();
        let session_name = if function.is_empty() { environment_id } else { function };
        let principal = Principal::AssumedRole {
            account,
            role_arn: role.arn(),
            role_id: role.id,
            session_name: session_name.to_owned(),
            source_function: Some(function_arn.to_owned()),
            session: self.new_session(),
        };
        Ok(self.0.seal.issue(&self.0.rng, &principal))
    }

    /// A session of a role that begins now, for a function or the platform: 12 h, nothing taken from the role's rights.
    pub(crate) fn new_session(&self) -> Arc<SessionFacts> {
        let issued = self.0.clock.now();
        Arc::new(SessionFacts {
            issued,
            expires: issued + Duration::from_secs(FUNCTION_SESSION_S),
            is_permissive: self.0.permissive,
            ..SessionFacts::default()
        })
    }

    /// The policies that speak for `principal`, from the cache while nothing has changed.
    ///
    /// # Errors
    /// The store's.
    pub async fn policies_of(&self, principal: &Principal) -> Result<Arc<PolicySet>, IamError> {
        let (account, kind, name, id) = match principal {
            Principal::Root { account } => return self.policies_of_root(account).await,
            Principal::Anonymous | Principal::Function { .. } => return Ok(Arc::new(PolicySet::default())),
            Principal::User { account, id, name, .. } => (account, IdentityKind::User, name.as_str(), Some(id)),
            Principal::AssumedRole { account, role_arn, role_id, .. } => {
                (account, IdentityKind::Role, last(role_arn), Some(role_id))
            }
            // Such a session must not pass to a later user of its maker's name.
            Principal::FederatedUser { account, user_arn, session, .. } => {
                (account, IdentityKind::User, last(user_arn), session.maker_id.as_ref())
            }
        };
        let epoch = self.0.cache.epoch();
        let session = principal.session();
        let restricted = session.filter(|s| s.policy.is_some() || !s.policy_arns.is_empty() || !s.tags.is_empty());
        let is_federated = matches!(principal, Principal::FederatedUser { .. });
        let mut key = String::with_capacity(96);
        let id_text = id.map_or("", String::as_str);
        for part in [account.as_str(), kind.word(), name, id_text] {
            key.push_str(part);
            key.push('/');
        }
        if let Some(s) = restricted {
            key.push_str(&format!("/{:?}/{:?}/{:?}", s.policy, s.policy_arns, s.tags));
        }
        if is_federated {
            key.push_str("/federated");
        }
        if let Some(known) = self.0.cache.sets.get(epoch, &key) {
            return Ok(known);
        }
        let made = match self.identity(account.as_str(), kind, name).await? {
            Some(found) if id.is_none_or(|id| *id == found.id) => self.compile(&found, session, is_federated).await?,
            _ => PolicySet::default(),
        };
        let made = Arc::new(made);
        self.0.cache.sets.insert(epoch, key, Arc::clone(&made));
        Ok(made)
    }

    /// The root user has no policies of its own, but its organisation's bind it.
    async fn policies_of_root(&self, account: &AccountId) -> Result<Arc<PolicySet>, IamError> {
        let (epoch, key) = (self.0.cache.epoch(), format!("{account}/root"));
        if let Some(known) = self.0.cache.sets.get(epoch, &key) {
            return Ok(known);
        }
        let service_control = self.service_control_of(account.as_str()).await?;
        let made = Arc::new(PolicySet { service_control, alive: true, ..PolicySet::default() });
        self.0.cache.sets.insert(epoch, key, Arc::clone(&made));
        Ok(made)
    }

    async fn compile(
        &self,
        of: &Identity,
        session: Option<&Arc<SessionFacts>>,
        is_federated: bool,
    ) -> Result<PolicySet, IamError> {
        let mut set = PolicySet { alive: true, ..PolicySet::default() };
        self.add_policies(of, &mut set.identity).await?;
        for name in &of.groups {
            if let Some(group) = self.identity(&of.account, IdentityKind::Group, name).await? {
                self.add_policies(&group, &mut set.identity).await?;
            }
        }
        if let Some(arn) = &of.boundary {
            // A boundary that cannot be read allows nothing: it must not vanish.
            let text = self.document(&of.account, arn).await?.unwrap_or_else(deny_all);
            set.boundary = Some(self.named(arn, &text, Kind::Boundary)?);
        }
        // Service-linked roles are above the organisation (user guide, "Service control policies").
        if !of.is_linked() {
            set.service_control = self.service_control_of(&of.account).await?;
        }
        let mut tags = of.tags.clone();
        if let Some(session) = session {
            for (key, value) in &session.tags {
                merge_tag(&mut tags, key.clone(), value.clone());
            }
            set.session = self.session_policies(&of.account, session, is_federated).await?;
        }
        set.tags = tags.into_iter().collect();
        Ok(set)
    }

    async fn session_policies(
        &self,
        account: &str,
        session: &SessionFacts,
        is_federated: bool,
    ) -> Result<Option<Vec<Named>>, IamError> {
        // A federated user without session policies may do nothing (API reference, GetFederationToken).
        if session.policy.is_none() && session.policy_arns.is_empty() {
            return Ok(is_federated.then(Vec::new));
        }
        let mut policies = Vec::new();
        if let Some(text) = &session.policy {
            policies.push(self.named("session policy", text, Kind::Session)?);
        }
        for arn in &session.policy_arns {
            if let Some(text) = self.document(account, arn).await? {
                policies.push(self.named(arn, &text, Kind::Session)?);
            }
        }
        Ok(Some(policies))
    }

    async fn add_policies(&self, of: &Identity, policies: &mut Vec<Named>) -> Result<(), IamError> {
        for arn in &of.attached {
            if let Some(text) = self.document(&of.account, arn).await? {
                policies.push(self.named(arn, &text, Kind::Identity)?);
            }
        }
        for (name, text) in &of.inline {
            policies.push(self.named(name, text, Kind::Identity)?);
        }
        Ok(())
    }

    pub(crate) fn named(&self, name: &str, text: &str, kind: Kind) -> Result<Named, IamError> {
        Ok(Named::new(name, self.0.cache.compiled(text, kind)?))
    }

    /// The document in force of a managed policy, AWS's or the account's.
    pub(crate) async fn document(&self, account: &str, arn: &str) -> Result<Option<String>, IamError> {
        if let Some(document) = aws_managed::document(arn) {
            return Ok(Some(document));
        }
        let key = keys::managed(account, arn);
        let read = self.0.kv.read(|tx| async move { keys::get::<Managed>(&tx, &key).await });
        Ok(read.await?.map(|policy| policy.document().to_owned()))
    }

    pub(crate) async fn identity(
        &self,
        account: &str,
        kind: IdentityKind,
        name: &str,
    ) -> Result<Option<Identity>, IamError> {
        let key = keys::identity(account, kind, name);
        let read = self.0.kv.read(|tx| async move { keys::get::<Identity>(&tx, &key).await });
        Ok(read.await?.filter(|found| found.name == name))
    }

    /// The role with exactly this ARN.
    pub(crate) async fn role_by_arn(&self, arn: &str) -> Result<Option<Identity>, IamError> {
        let Some(account) = wire::Arn::parse(arn).filter(|a| a.service == "iam").map(|a| a.account) else {
            return Ok(None);
        };
        let role = self.identity(&account, IdentityKind::Role, last(arn)).await?;
        Ok(role.filter(|role| role.arn() == arn))
    }

    /// One transaction that changes who may do what; every cache hears of it.
    pub(crate) async fn change<T, F, Fut>(&self, body: F) -> Result<T, IamError>
    where
        F: Fn(Txn) -> Fut,
        Fut: Future<Output = Result<T, IamError>>,
    {
        let changed = self.0.kv.transact(|tx| {
            let running = body(tx.clone());
            async move {
                let value = running.await?;
                keys::touch(&tx);
                Ok::<T, IamError>(value)
            }
        });
        let outcome = changed.await;
        // The watch wakes its task a moment later; whoever made the change sees it at once.
        self.0.cache.forget();
        outcome.map_err(|error| match error {
            IamError::ServiceFailure(kv::Error::TooLarge { actual, limit, .. }) if is_of_size(limit) => {
                IamError::LimitExceeded(format!("What is to be stored has {actual} bytes; it can have {limit}."))
            }
            other => other,
        })
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.0.clock.now().unix_us()
    }
}

/// Whether a limit of the store is one of sizes, which callers can mend: white space counts for no quota of AWS's.
fn is_of_size(limit: u64) -> bool {
    let sizes = [kv::limits::VALUE_BYTES_MAX, kv::limits::TRANSACTION_BYTES_MAX];
    sizes.into_iter().any(|size| u64::try_from(size) == Ok(limit))
}

fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn deny_all() -> String {
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#.to_owned()
}
