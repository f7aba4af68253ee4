import { simulate } from './simulate.ts';

simulate('guarded', 0.02);
simulate('stopping', 0.02);
simulate('users-guarded', 0.02);
simulate('users-stopping', 0.02);
simulate('history-stopping', 0.02);
