// A generic runtime: node with this bootstrap loaded, before it is known for which function.
//
//   boot ─▶ rehearsal, SDK ─▶ STANDBY ─▶ (blocks) ─▶ ASSIGN: variables ─▶ PLACED: working directory ─▶ as bootstrap.cjs from here on
//
// Nothing of any user has been seen until ASSIGN. What only counts when a process starts (NODE_OPTIONS, LD_LIBRARY_PATH, TZ …)
// cannot be assigned: the server starts such functions with bootstrap.cjs.
'use strict';

const { Channel } = require('./channel.cjs');
const { describe } = require('./errors.cjs');
const { start } = require('./bootstrap.cjs');
const { rehearse, emptyNursery } = require('./rehearsal.cjs');
const { loadResident } = require('./resident.cjs');

/** Waits for a function, and takes on its variables. Its files are put in their places meanwhile. */
function assume(channel) {
  const assignment = channel.assignment();
  if (assignment === null) process.exit(0);
  const { environment } = assignment;
  for (const name of Object.keys(environment)) process.env[name] = environment[name];
}

/** Waits for its files. */
function arrive(channel) {
  if (!channel.placed()) process.exit(0);
  process.chdir(process.env.LAMBDA_TASK_ROOT);
}

const descriptor = Number(process.env._TINDERBOX_CHANNEL_FD ?? 3);

async function main() {
  const channel = new Channel(descriptor);
  await rehearse(channel, assume, arrive);
  describe(new Error('warm'));
  void process.stdout; // a getter that loads streams
  void process.stderr;
  loadResident();
  emptyNursery();
  const program = require.resolve('./bootstrap.cjs');
  channel.standby();
  assume(channel);
  process.argv[1] = program;
  start(channel, arrive);
}

// A runtime that cannot stand by says why, for the operator's log.
main().catch((error) => {
  new Channel(descriptor).initError(JSON.stringify(describe(error)));
  process.exit(1);
});
