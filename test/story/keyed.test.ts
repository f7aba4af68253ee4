import { simulate } from './simulate.ts';

simulate('keyed');
