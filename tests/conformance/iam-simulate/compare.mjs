// Asks the foreign oracle every question of the corpus that it can be asked; prints one JSON line per case.
import { readFileSync } from 'node:fs'
import { anonymousPrincipal, runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate'

const WORDS = { Allowed: 'allow', ExplicitlyDenied: 'explicit', ImplicitlyDenied: 'implicit' }

/** The keys that our engine takes from the principal, spelled out for the oracle. */
function contextOf({ principal, keys, resourceAccount }) {
  const context = { 'aws:ResourceAccount': resourceAccount, ...keys }
  if (principal.account) context['aws:PrincipalAccount'] = principal.account
  if (principal.arn) context['aws:PrincipalArn'] = principal.parent ?? principal.arn
  return context
}

/** The simulation of a case in the oracle's words. */
function simulationOf(c) {
  const named = (list) => list.map((policy, index) => ({ name: `p${index}`, policy }))
  const who = c.principal.kind === 'anonymous' ? anonymousPrincipal : c.principal.kind === 'service' ? c.principal.name : c.principal.arn
  return {
    request: {
      principal: who,
      action: c.action,
      resource: { resource: c.resource, accountId: c.resourceAccount },
      contextVariables: contextOf(c),
    },
    identityPolicies: named(c.identity),
    serviceControlPolicies: (c.serviceControl ?? []).map((level, index) => ({ orgIdentifier: `o${index}`, policies: named(level) })),
    resourceControlPolicies: [],
    resourcePolicy: c.resourcePolicy,
    permissionBoundaryPolicies: c.boundary && named([c.boundary]),
    sessionPolicy: c.session?.[0],
  }
}

for (const c of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  let decision
  try {
    if (c.session || c.resourcePolicy) {
      // Only the validating entry point knows session policies and can load resource policies.
      const answer = await runSimulation(simulationOf(c), {})
      decision = WORDS[answer.overallResult] ?? `error ${JSON.stringify(answer.errors)}`
    } else {
      const answer = runUnsafeSimulation(simulationOf(c), {})
      decision = WORDS[answer] ?? String(answer)
    }
  } catch (error) {
    decision = `error ${error.message}`
  }
  console.log(JSON.stringify({ name: c.name, expect: c.oracle ?? c.expect, decision }))
}
