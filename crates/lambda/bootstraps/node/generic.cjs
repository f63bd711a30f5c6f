// A generic runtime: node with this bootstrap loaded, before it is known for which function.
//
//   boot ─▶ warm up, SDK ─▶ STANDBY ─▶ (blocks) ─▶ ASSIGN: variables, working directory ─▶ as bootstrap.cjs from here on
//
// Nothing of any user has been seen until ASSIGN. What only counts when a process starts (NODE_OPTIONS, LD_LIBRARY_PATH, TZ …)
// cannot be assigned: the server starts such functions with bootstrap.cjs.
'use strict';

const { Channel } = require('./channel.cjs');
const { load } = require('./handler.cjs');
const { describe } = require('./errors.cjs');
const { start } = require('./bootstrap.cjs');
const { loadResident } = require('./resident.cjs');
require('./code_cache.cjs'); // most cold starts use it

/** Does once what every init does, so that the code for it is compiled and node's lazy parts are loaded. */
async function warmUp() {
  for (const extension of ['cjs', 'mjs']) {
    const { handler } = await load(__dirname, `warm_${extension}.handler`, true);
    JSON.stringify(await handler(JSON.parse('{"warm":true}'), {}));
  }
  describe(new Error('warm'));
  void process.stdout; // a getter that loads streams
  void process.stderr;
  delete require.cache[require.resolve('./warm_cjs.cjs')];
  await new Promise((resolve) => setImmediate(resolve));
}

async function main() {
  await warmUp();
  loadResident();
  const channel = new Channel(Number(process.env._TINDERBOX_CHANNEL_FD ?? 3));
  channel.standby();
  const assignment = channel.assignment();
  if (assignment === null) process.exit(0);
  const { environment } = assignment;
  for (const name of Object.keys(environment)) process.env[name] = environment[name];
  process.chdir(environment.LAMBDA_TASK_ROOT);
  process.argv[1] = require.resolve('./bootstrap.cjs');
  start(channel);
}

main();
