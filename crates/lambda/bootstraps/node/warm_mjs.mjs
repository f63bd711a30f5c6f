// What a rehearsal (rehearsal.cjs) loads in a function's place.
export const handler = async (event) => event;
